"""Check and store calibration inputs for int8, and read calibration caches."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.arrays import check_inputs, refuse_nan
from pytest_trt.engine.model.model import Model
from pytest_trt.errors import BuildError, InputError, TrtError

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays, Tensor

Calibration = Callable[[], "Iterable[Arrays]"]
"""Yields the inputs that int8 is calibrated on, arrays by input name. Every call yields the same inputs."""

CACHE_HEADERS = {"entropy": "EntropyCalibration2", "minmax": "MinMaxCalibration"}
"""The name of each calibrator in the first line of a calibration cache: `TRT-8600-EntropyCalibration2`."""

MAX_BATCHES = 10_000
"""A function that yields more batches probably never ends, such as itertools.cycle over a loader. A few hundred inputs
are enough."""

_MAX_CACHE_BYTES = 1 << 26


def checked_batches(model: Model, calibration: Calibration) -> Iterator[Arrays]:
    """Yield the batches of `calibration`, each checked against the model.

    Raises:
        BuildError: A batch does not fit the model or contains NaN or infinities, or the function fails or yields
            nothing. The message has the number of the batch.
    """
    number, title = 0, f"int8 calibration of {model.path.name}"
    try:
        for batch in _check_iterable(calibration(), title):
            refuse_nan(batch)
            checked = check_inputs(batch, [_with_rank(tensor, model, batch) for tensor in model.inputs])
            _refuse_infinite(checked)
            yield checked
            number += 1
    except InputError as error:
        raise BuildError(f"{title}, batch {number + 1}: {error}") from error
    except TrtError:
        raise
    except (Exception, SystemExit) as error:
        raise BuildError(f"{title}: the function raised {type(error).__name__}: {error}") from error
    if not number:
        raise BuildError(f"{title}: the function yielded nothing: let it yield some inputs")


def _check_iterable(returned: Any, title: str) -> Iterable[Any]:
    """Return what the function returned, or raise BuildError if it cannot be iterated over."""
    if not isinstance(returned, Iterable):
        raise BuildError(f"{title}: the function returned {type(returned).__name__}: it must yield dicts of arrays")
    return returned


def _refuse_infinite(batch: Arrays) -> None:
    """Raise InputError if a float input contains infinities."""
    import numpy as np

    for name, array in batch.items():
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise InputError(f"input {name!r} holds infinities, which have no range: give finite numbers")


def _with_rank(tensor: Tensor, model: Model, batch: Arrays) -> Tensor:
    """Return the input. If its rank is unknown, it gets the rank of the batch."""
    if model.dims.get(tensor.name, ()) is not None:
        return tensor
    return dataclasses.replace(tensor, shape=(-1,) * getattr(batch.get(tensor.name), "ndim", 0))


def fingerprint(model: Model, calibration: Calibration) -> str:
    """Return the SHA-256 of the calibration inputs.

    Raises:
        BuildError: An input is not valid, as for `checked_batches`.
    """
    digest = hashlib.sha256()
    for batch in checked_batches(model, calibration):
        _update_digest(digest, batch)
    return digest.hexdigest()


def _update_digest(digest: Any, batch: Arrays) -> None:
    for name, array in batch.items():
        digest.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(array.tobytes())


def require_repeatable(model: Model, calibration: Calibration, limit_s: float) -> Calibration:
    """Return `calibration` with a check that every call yields the same inputs: they are part of the engine's digest.

    Args:
        model: The model that is calibrated.
        calibration: The function that yields calibration inputs.
        limit_s: The time in seconds after which one call must have ended, including the time in which its batches are
            used. It is the spec's build_timeout_s.

    Returns:
        A function that raises BuildError if a later call yields other inputs than the first, or if a call has not ended
        after `limit_s` or MAX_BATCHES.
    """
    digests: list[str] = []

    def repeat() -> Iterator[Arrays]:
        digest, started = hashlib.sha256(), time.monotonic()
        for number, batch in enumerate(checked_batches(model, calibration)):
            elapsed_s = time.monotonic() - started
            if number == MAX_BATCHES or elapsed_s > limit_s:
                raise BuildError(
                    f"int8 calibration of {model.path.name} has not ended after {number} batches and {elapsed_s:.1f} s "
                    f"(at most {MAX_BATCHES}, and build_timeout_s={limit_s:g}): end it, for example with "
                    "itertools.islice"
                )
            _update_digest(digest, batch)
            yield batch
        digests.append(digest.hexdigest())
        if digests[0] != digests[-1]:
            raise BuildError(
                f"int8 calibration of {model.path.name}: the function yields different inputs at each call: seed it, "
                "for example with numpy.random.default_rng(0)"
            )

    return repeat


def write_batches(model: Model, calibration: Calibration, folder: Path, *, one_shape: bool) -> None:
    """Write the batches to `folder` for a calibrator in another process.

    The files are 00000.npz, 00001.npz, ... Each contains the names of the inputs, then their arrays.

    Args:
        model: The model that is calibrated.
        calibration: The function that yields calibration inputs.
        folder: The folder, which is created.
        one_shape: Whether all batches must have the same shapes, as TensorRT's calibrators require.

    Raises:
        BuildError: An input is not valid, as for `checked_batches`, or the batches differ in shape.
        OSError: A file cannot be written.
    """
    import numpy as np

    folder.mkdir()
    first: dict[str, tuple[int, ...]] = {}
    for number, batch in zip(itertools.count(), checked_batches(model, calibration)):
        shapes = {name: array.shape for name, array in batch.items()}
        first = first or shapes
        for name, shape in shapes.items() if one_shape else ():
            if shape != first[name]:
                raise BuildError(
                    f"int8 calibration of {model.path.name}, batch {number + 1}: input {name!r} has the shape {shape}, "
                    f"but {first[name]} in the first batch: TensorRT's calibrators need batches of one shape"
                )
        np.savez(folder / f"{number:05}.npz", np.array(list(batch)), *batch.values())


def read_batches(folder: Path) -> Iterator[Arrays]:
    """Yield the batches that `write_batches` wrote to `folder`, in order."""
    import numpy as np

    for file in sorted(folder.glob("*.npz")):
        with np.load(file, allow_pickle=False) as arrays:
            yield {str(name): arrays[f"arr_{number}"] for number, name in enumerate(arrays["arr_0"], 1)}


def read_cache(path: Path, calibrator: str) -> bytes:
    """Return the content of the calibration cache at `path`.

    Raises:
        BuildError: The file cannot be read, or is no cache of this calibrator.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CACHE_BYTES)
    except OSError as error:
        raise BuildError(
            f"the calibration cache {path} cannot be read ({error.strerror or error}): name one that TensorRT wrote, "
            "or give calibration= a function"
        ) from error
    head = data.partition(b"\n")[0].decode(errors="replace").strip()
    if not head.startswith("TRT-") or not head.endswith(CACHE_HEADERS[calibrator]):
        raise BuildError(
            f"{path} is no calibration cache of the {calibrator} calibrator: it begins with {head[:60]!r}, not "
            f"with 'TRT-...-{CACHE_HEADERS[calibrator]}'; name another file or calibrator"
        )
    return data
