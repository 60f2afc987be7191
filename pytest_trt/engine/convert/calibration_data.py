"""What int8 is calibrated on: a function's arrays or drawn ones, checked; or a calibration cache that is given."""

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
"""Gives the inputs that int8 is calibrated on, the same at every call: arrays by input name."""

CACHE_HEADERS = {"entropy": "EntropyCalibration2", "minmax": "MinMaxCalibration"}
"""How the first line of a calibration cache names its calibrator: `TRT-8600-EntropyCalibration2`."""

MAX_BATCHES = 10_000
"""Who yields more does not mean to end, such as itertools.cycle over a loader: some hundred inputs are enough."""

_CACHE_BYTES = 1 << 26


def checked_batches(model: Model, calibration: Calibration) -> Iterator[Arrays]:
    """What `calibration` yields, checked. Raises BuildError, naming the batch, for one that does not fit the model or
    holds NaN or infinities, and where the function fails or yields nothing."""
    number, of = 0, f"int8 calibration of {model.path.name}"
    try:
        for batch in _iterable(calibration(), of):
            refuse_nan(batch)
            ready = check_inputs(batch, [_with_rank(tensor, model, batch) for tensor in model.inputs])
            _refuse_infinite(ready)
            yield ready
            number += 1
    except InputError as error:
        raise BuildError(f"{of}, batch {number + 1}: {error}") from error
    except TrtError:
        raise
    except (Exception, SystemExit) as error:
        raise BuildError(f"{of}: the function raised {type(error).__name__}: {error}") from error
    if not number:
        raise BuildError(f"{of}: the function yielded nothing: give it some inputs")


def _iterable(made: Any, of: str) -> Iterable[Any]:
    if not isinstance(made, Iterable):
        raise BuildError(f"{of}: the function returned {type(made).__name__}: it must yield dicts of arrays")
    return made


def _refuse_infinite(batch: Arrays) -> None:
    import numpy as np

    for name, array in batch.items():
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise InputError(f"input {name!r} holds infinities, which have no range: feed numbers")


def _with_rank(tensor: Tensor, model: Model, batch: Arrays) -> Tensor:
    """The input; of unknown rank, with as many dimensions as the batch has."""
    if model.dims.get(tensor.name, ()) is not None:
        return tensor
    return dataclasses.replace(tensor, shape=(-1,) * getattr(batch.get(tensor.name), "ndim", 0))


def fingerprint(model: Model, calibration: Calibration) -> str:
    """The SHA-256 of what int8 is calibrated on. Raises what `checked_batches` raises."""
    digest = hashlib.sha256()
    for batch in checked_batches(model, calibration):
        _update_digest(digest, batch)
    return digest.hexdigest()


def _update_digest(digest: Any, batch: Arrays) -> None:
    for name, array in batch.items():
        digest.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(array.tobytes())


def require_repeatable(model: Model, calibration: Calibration, limit_s: float) -> Calibration:
    """`calibration`, which raises BuildError where a later call yields other inputs than the first: an engine is known
    by what its calibration yielded once. So it does where one call's batches have not ended after `limit_s`, the
    spec's build_timeout_s, with what is done with them, or after MOST_BATCHES."""
    seen: list[str] = []

    def again() -> Iterator[Arrays]:
        digest, started = hashlib.sha256(), time.monotonic()
        for number, batch in enumerate(checked_batches(model, calibration)):
            elapsed_s = time.monotonic() - started
            if number == MAX_BATCHES or elapsed_s > limit_s:
                raise BuildError(
                    f"int8 calibration of {model.path.name} has not ended after {number} batches and {elapsed_s:.1f} s "
                    f"(at most {MAX_BATCHES}, and build_timeout_s={limit_s:g}): end it, as with itertools.islice"
                )
            _update_digest(digest, batch)
            yield batch
        seen.append(digest.hexdigest())
        if seen[0] != seen[-1]:
            raise BuildError(
                f"int8 calibration of {model.path.name}: the function yields other inputs at every call: seed it, with "
                "numpy.random.default_rng(0)"
            )

    return again


def write_batches(model: Model, calibration: Calibration, folder: Path) -> None:
    """The batches as 00000.npz, 00001.npz, ... in `folder`, for a calibrator in another process: in each, the names,
    then the arrays. Raises what `checked_batches` raises, and BuildError for batches of more than one shape: TensorRT's
    calibrators take one."""
    import numpy as np

    folder.mkdir()
    first: dict[str, tuple[int, ...]] = {}
    for number, batch in zip(itertools.count(), checked_batches(model, calibration)):
        shapes = {name: array.shape for name, array in batch.items()}
        first = first or shapes
        for name, shape in shapes.items():
            if shape != first[name]:
                raise BuildError(
                    f"int8 calibration of {model.path.name}, batch {number + 1}: input {name!r} has the shape {shape}, "
                    f"and {first[name]} in the first: TensorRT's calibrators take batches of one shape"
                )
        np.savez(folder / f"{number:05}.npz", np.array(list(batch)), *batch.values())


def read_cache(path: Path, calibrator: str) -> bytes:
    """The calibration cache that a spec names. Raises BuildError where there is none of that calibrator."""
    try:
        with path.open("rb") as file:
            data = file.read(_CACHE_BYTES)
    except OSError as error:
        raise BuildError(
            f"the calibration cache {path} cannot be read: {error.strerror or error}: name one that TensorRT wrote, "
            "or give calibration= a function"
        ) from error
    head = data.partition(b"\n")[0].decode(errors="replace").strip()
    if not head.startswith("TRT-") or not head.endswith(CACHE_HEADERS[calibrator]):
        raise BuildError(
            f"{path} is no calibration cache of the {calibrator} calibrator: it begins with {head[:60]!r}, not "
            f"with 'TRT-...-{CACHE_HEADERS[calibrator]}'"
        )
    return data
