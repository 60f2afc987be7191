"""int8 as TensorRT up to 10 calibrates it: batches out of files, and a calibration cache beside the plan."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import CALIBRATION_CACHE, BuildJob
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.tensors import numpy_dtype
from pytest_trt.errors import BuildError

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

SHOWN = 3


@contextlib.contextmanager
def calibration(trt: Any, builder: Any, network: Any, config: Any, job: BuildJob) -> Iterator[None]:
    """Build with the calibrator that the spec names, if the job brings anything to calibrate on: on the batches of
    `job.calibration`, whose scales it leaves in `job.output`/CALIBRATION_CACHE, or with that cache where it is already.

    Raises BuildError where this TensorRT has no calibrators, where the cache is of another model, and where a batch
    could not be handed over: the builder would take that for the last one.
    """
    if job.calibration is None or job.spec.calibrator is None:
        yield
        return
    base = versions.require(trt, f"calibrator={job.spec.calibrator}")
    cache = Path(job.output) / CALIBRATION_CACHE
    if cache.exists():
        check_calibration_cache(cache.read_bytes(), _tensors(network), Path(job.model).name)
    files = sorted(Path(job.calibration).glob("*.npz"))
    with contextlib.ExitStack() as held:
        feed = _Feed(network, files, held)
        config.int8_calibrator = calibrator = _calibrator(base, feed, cache)
        if files:
            config.set_calibration_profile(_profile(builder, network, feed.first))
        yield
        del calibrator
    if feed.fault is not None:
        raise BuildError(f"int8 calibration of {Path(job.model).name} broke off: {feed.fault}") from feed.fault


class _Feed:
    """The batches, one after another in the same device memory."""

    def __init__(self, network: Any, files: list[Path], held: contextlib.ExitStack) -> None:
        self._files, self._next = files, 0
        inputs = map(network.get_input, range(network.num_inputs))
        self._dtypes = {tensor.name: numpy_dtype(versions.dtype(tensor.dtype)) for tensor in inputs}
        self.fault: Exception | None = None
        self.first = self._read(files[0]) if files else {}
        self._buffers: dict[str, cuda.DeviceBuffer] = {}
        if files:
            self._stream = held.enter_context(cuda.Stream())
        for name, array in self.first.items():
            self._buffers[name] = buffer = cuda.DeviceBuffer(array.nbytes)
            held.callback(buffer.close)

    def _read(self, file: Path) -> Arrays:
        """A batch in the types that the parsed network has: TensorRT before 10 takes int64 as int32."""
        import numpy as np

        with np.load(file, allow_pickle=False) as arrays:
            names = map(str, arrays["arr_0"])
            return {
                name: np.ascontiguousarray(arrays[f"arr_{place}"], self._dtypes.get(name))
                for place, name in enumerate(names, 1)
            }

    @property
    def batch(self) -> int:
        return next((array.shape[0] for array in self.first.values() if array.ndim), 1)

    def take(self, names: list[str]) -> list[int] | None:
        """The addresses of the next batch's arrays; None after the last one, or where it cannot be had."""
        if self._next == len(self._files):
            return None
        try:
            arrays = self._read(self._files[self._next])
            for name in names:
                buffer = self._buffers[name]
                self._stream.copy(buffer.address, arrays[name].ctypes.data, buffer.nbytes)
            self._stream.synchronize()
        except Exception as error:  # noqa: BLE001 - it must not pass through TensorRT: it is raised after the build
            self.fault = error
            return None
        self._next += 1
        return [self._buffers[name].address for name in names]


def _calibrator(base: Any, feed: _Feed, cache: Path) -> Any:
    class Calibrator(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def get_batch_size(self) -> int:
            return feed.batch

        def get_batch(self, names: list[str]) -> list[int] | None:
            return feed.take(names)

        def read_calibration_cache(self) -> bytes | None:
            return cache.read_bytes() if cache.exists() else None

        def write_calibration_cache(self, scales: Any) -> None:
            cache.write_bytes(bytes(scales))

    return Calibrator()


def _profile(builder: Any, network: Any, batch: Arrays) -> Any:
    """The shapes to calibrate at: the batches' own."""
    profile = builder.create_optimization_profile()
    for tensor in map(network.get_input, range(network.num_inputs)):
        if -1 in tuple(tensor.shape) and tensor.name in batch:
            shape = batch[tensor.name].shape
            profile.set_shape(tensor.name, shape, shape, shape)
    return profile


def _tensors(network: Any) -> set[str]:
    """The names of the float tensors that a calibrator gives scales."""
    layers = map(network.get_layer, range(network.num_layers))
    tensors = [*map(network.get_input, range(network.num_inputs))]
    tensors += [layer.get_output(i) for layer in layers for i in range(layer.num_outputs)]
    return {tensor.name for tensor in tensors if str(tensor.dtype).endswith(".FLOAT")}


def check_calibration_cache(data: bytes, tensors: set[str], model: str) -> None:
    """Raise BuildError where a calibration cache has scales for less than half of the model's `tensors`, so that it is
    another model's: TensorRT would build in another precision what it finds no scale for, and say so in its log alone.
    A line is `name: scale`, the scale as the bytes of a float32 in hex."""
    known = {line.rpartition(":")[0] for line in data.decode(errors="replace").splitlines()[1:]}
    if 2 * len(found := known & tensors) < len(tensors):
        absent = ", ".join(sorted(tensors - found)[:SHOWN])
        raise BuildError(
            f"the calibration cache is of another model: it has scales for {len(found)} of {len(tensors)} tensors of "
            f"{model}, and none for {absent}: calibrate this model on a function's inputs"
        )
