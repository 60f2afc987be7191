"""Find, check and load the files that contain a model's weights besides the model's own file.

A model names such a file by a path relative to its own folder, the location. Both the model and the file may be links,
as in the cache of huggingface_hub, where `snapshots/REVISION/` contains links into `blobs/`. A file is searched for
beside the name of the link, then beside its target.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_trt.engine.onnx import traverse
from pytest_trt.errors import ModelError

_MAX_DIGITS = 19
"""The most digits of a number of bytes that fits in 64 bits."""

LFS_POINTER = b"version https://git-lfs"
"""The start of a file that Git LFS leaves in place of a file that it has not fetched."""


def weight_files(path: Path, tensors: Iterable[Any]) -> dict[str, tuple[int, str]]:
    """Return, by the location of each file, the byte at which its last weight ends, and the name of that weight.

    Args:
        path: The model's file, for the error.
        tensors: The model's tensors.

    Raises:
        ModelError: The offset or the length of a weight is not a number of bytes.
    """
    ends: dict[str, tuple[int, str]] = {}
    for tensor in filter(traverse.is_external, tensors):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location, numbers = entries.get("location", ""), [entries.get("offset", "0"), entries.get("length", "0")]
        if not all(number.isdecimal() and len(number) <= _MAX_DIGITS for number in numbers):
            shown = [number[: _MAX_DIGITS + 1] for number in numbers]
            raise ModelError(
                f"{path}: the offset and length of the weight {tensor.name!r} in {location!r} are {shown}, which are "
                "no numbers of bytes: save the model again"
            )
        end = sum(map(int, numbers))
        ends[location] = max(ends.get(location, (0, "")), (end, tensor.name))
    return ends


def find_weights(model: Path, location: str) -> Path:
    """Return the path of the file that the model at `model` names by `location`.

    A model must not be able to read files elsewhere: the file has to be in the folder of the model or, if the model is
    a link, in the folder of its target. ONNX Runtime 1.24.2 and newer follow links by the same rule.

    Raises:
        ModelError: There is no such file, or it is in another folder.
    """
    folders = list(dict.fromkeys((model.parent.resolve(), model.resolve().parent)))
    if not location or "\0" in location or Path(location).is_absolute():
        raise _outside(model, location)
    candidates = [folder / location for folder in folders]
    if not any(path.parent.resolve().is_relative_to(folder) for path, folder in zip(candidates, folders, strict=True)):
        raise _outside(model, location)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        where = " or ".join(map(str, folders))
        raise ModelError(f"{model} keeps weights in {location!r}, which is not in {where}: copy it beside the model")
    if not any(found.resolve().is_relative_to(folder) for folder in folders):
        raise ModelError(
            f"{found}, the weights of {model.name}, is a link to {found.resolve()}, outside the folder of the model: "
            "copy it (cp -L), or make the model a link into the same folder"
        )
    return found


def _outside(model: Path, location: str) -> ModelError:
    folder = model.parent.resolve()
    return ModelError(
        f"{model} keeps weights in {location!r}, outside its folder {folder}: save it again with its data beside it"
    )


def check_weights(model: Path, location: str, end: int, weight: str) -> Path:
    """Return the path of a file of weights that is complete; see `find_weights`.

    Args:
        model: The model's file.
        location: The file of weights, as the model names it.
        end: The byte at which its last weight ends.
        weight: The name of that weight.

    Raises:
        ModelError: The file is missing, in another folder, a Git LFS pointer, or too short.
    """
    file = find_weights(model, location)
    with file.open("rb") as data:
        if data.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ModelError(f"{file}, the weights of {model.name}, is a Git LFS pointer: git lfs pull")
    if end > (size := file.stat().st_size):
        raise ModelError(
            f"{file} was cut short: it has {size} bytes, but the weight {weight!r} of {model.name} ends at byte {end}: "
            "copy it again"
        )
    return file


def parser_path(model: Path, locations: Iterable[str]) -> Path:
    """Return a path of the model beside which all its files of weights are found.

    TensorRT's parser searches beside the path that it is given, whether that is a link or not.

    Args:
        model: The model's file.
        locations: The files of weights, as the model names them.

    Raises:
        ModelError: Some files are beside the link and others beside its target.
    """
    found = [(find_weights(model, location), location) for location in locations]
    for path in (model, model.resolve()):
        if all((path.parent / location).is_file() for _, location in found):
            return path
    listed = ", ".join(str(file) for file, _ in found)
    raise ModelError(
        f"{model} is a link, and its weights are neither all beside it nor all beside its target ({listed}): copy the "
        "model with its weights into one folder (cp -L)"
    )


def load_weights(model: Any, path: Path) -> None:
    """Read all weights of a ModelProto that lie in other files into the ModelProto.

    In contrast to `onnx.load_external_data_for_model`, this follows the links that `find_weights` allows, and reads
    files with several hard links.

    Args:
        model: The ModelProto, which is changed.
        path: The file that it was read from.

    Raises:
        ModelError: A file is missing, in another folder, or too short.
        OSError: A file cannot be read.
    """
    ends = weight_files(path, traverse.tensors(model))
    with contextlib.ExitStack() as stack:
        files = {
            location: stack.enter_context(check_weights(path, location, end, weight).open("rb"))
            for location, (end, weight) in ends.items()
        }
        for tensor in filter(traverse.is_external, traverse.tensors(model)):
            entries = {entry.key: entry.value for entry in tensor.external_data}
            file = files[entries["location"]]
            file.seek(int(entries.get("offset", "0")))
            tensor.raw_data = file.read(int(entries["length"]) if entries.get("length") else -1)
            tensor.data_location = type(tensor).DEFAULT
            del tensor.external_data[:]
