"""Calibrate int8 with the calibrators of TensorRT (up to version 10), on batches or from a calibration cache."""

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

MAX_SHOWN = 3
"""The most tensors that an error names."""


@contextlib.contextmanager
def calibration(trt: Any, builder: Any, network: Any, config: Any, job: BuildJob) -> Iterator[None]:
    """Use the calibrator that the spec names for the build in the `with` block; do nothing without calibration data.

    If `job.output`/CALIBRATION_CACHE exists, its scales are used. Otherwise the builder calibrates on the batches in
    the folder `job.calibration` and writes that file.

    Args:
        trt: The module of the package.
        builder: The builder.
        network: The parsed network.
        config: The builder's configuration.
        job: The build.

    Raises:
        BuildError: This TensorRT has no calibrators, the cache belongs to another model, or a batch could not be read
            (which the builder would take for the end of the data).
    """
    if job.calibration is None or job.spec.calibrator is None:
        yield
        return
    base = versions.require(trt, f"calibrator={job.spec.calibrator}")
    cache = Path(job.output) / CALIBRATION_CACHE
    if cache.exists():
        check_calibration_cache(cache.read_bytes(), _float_tensors(network), Path(job.model).name)
    files = sorted(Path(job.calibration).glob("*.npz"))
    with contextlib.ExitStack() as resources:
        feed = _BatchFeed(network, files, resources)
        config.int8_calibrator = calibrator = _calibrator(base, feed, cache)
        if files:
            config.set_calibration_profile(_profile(builder, network, feed.first))
        yield
        del calibrator
    if feed.error is not None:
        raise BuildError(f"int8 calibration of {Path(job.model).name} failed: {feed.error}") from feed.error


class _BatchFeed:
    """Provides the batches one after another in the same device memory.

    Args:
        network: The parsed network.
        files: The batches in NumPy's .npz format.
        resources: Frees the device memory and the stream.

    Attributes:
        first: The first batch, by input name.
        error: The exception that ended the calibration early, if any.
    """

    def __init__(self, network: Any, files: list[Path], resources: contextlib.ExitStack) -> None:
        self._files, self._next = files, 0
        inputs = map(network.get_input, range(network.num_inputs))
        self._dtypes = {tensor.name: numpy_dtype(versions.dtype(tensor.dtype)) for tensor in inputs}
        self.error: Exception | None = None
        self.first = self._read(files[0]) if files else {}
        self._buffers: dict[str, cuda.DeviceBuffer] = {}
        if files:
            self._stream = resources.enter_context(cuda.Stream())
        for name, array in self.first.items():
            self._buffers[name] = buffer = cuda.DeviceBuffer(array.nbytes)
            resources.callback(buffer.close)

    def _read(self, file: Path) -> Arrays:
        """Return a batch in the data types of the parsed network: TensorRT before 10 turns int64 into int32."""
        import numpy as np

        with np.load(file, allow_pickle=False) as arrays:
            names = map(str, arrays["arr_0"])
            return {
                name: np.ascontiguousarray(arrays[f"arr_{number}"], self._dtypes.get(name))
                for number, name in enumerate(names, 1)
            }

    @property
    def batch_size(self) -> int:
        """The first dimension of the first input that has one; 1 if none has."""
        return next((array.shape[0] for array in self.first.values() if array.ndim), 1)

    def next_batch(self, names: list[str]) -> list[int] | None:
        """Copy the next batch to the device and return the addresses of its arrays.

        Returns:
            The addresses in the order of `names`; None after the last batch, or if the batch cannot be read.
        """
        if self._next == len(self._files):
            return None
        try:
            arrays = self._read(self._files[self._next])
            for name in names:
                buffer = self._buffers[name]
                self._stream.copy(buffer.address, arrays[name].ctypes.data, buffer.nbytes)
            self._stream.synchronize()
        except Exception as error:  # noqa: BLE001 - must not pass through TensorRT; raised after the build
            self.error = error
            return None
        self._next += 1
        return [self._buffers[name].address for name in names]


def _calibrator(base: Any, feed: _BatchFeed, cache: Path) -> Any:
    """Return a calibrator of TensorRT's class `base` that reads from `feed` and keeps its scales in `cache`."""

    class Calibrator(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def get_batch_size(self) -> int:
            return feed.batch_size

        def get_batch(self, names: list[str]) -> list[int] | None:
            return feed.next_batch(names)

        def read_calibration_cache(self) -> bytes | None:
            return cache.read_bytes() if cache.exists() else None

        def write_calibration_cache(self, scales: Any) -> None:
            cache.write_bytes(bytes(scales))

    return Calibrator()


def _profile(builder: Any, network: Any, batch: Arrays) -> Any:
    """Return an optimisation profile with the shapes of a batch."""
    profile = builder.create_optimization_profile()
    for tensor in map(network.get_input, range(network.num_inputs)):
        if -1 in tuple(tensor.shape) and tensor.name in batch:
            shape = batch[tensor.name].shape
            profile.set_shape(tensor.name, shape, shape, shape)
    return profile


def _float_tensors(network: Any) -> set[str]:
    """Return the names of the float tensors, for which a calibrator finds scales."""
    layers = map(network.get_layer, range(network.num_layers))
    tensors = [*map(network.get_input, range(network.num_inputs))]
    tensors += [layer.get_output(i) for layer in layers for i in range(layer.num_outputs)]
    return {tensor.name for tensor in tensors if str(tensor.dtype).endswith(".FLOAT")}


def check_calibration_cache(data: bytes, tensors: set[str], model: str) -> None:
    """Raise BuildError if a calibration cache belongs to another model.

    That is assumed if it has scales for less than half of the model's tensors. TensorRT would build layers without a
    scale in another precision, and report that only in its log.

    Args:
        data: The content of the cache: a header, then lines `name: scale`, the scale as the bytes of a float32 in hex.
        tensors: The names of the model's float tensors.
        model: The name of the model in the error.
    """
    known = {line.rpartition(":")[0] for line in data.decode(errors="replace").splitlines()[1:]}
    if 2 * len(found := known & tensors) < len(tensors):
        missing = ", ".join(sorted(tensors - found)[:MAX_SHOWN])
        raise BuildError(
            f"the calibration cache belongs to another model: it has scales for {len(found)} of {len(tensors)} tensors "
            f"of {model}, but none for {missing}: calibrate this model on inputs from a function instead"
        )
