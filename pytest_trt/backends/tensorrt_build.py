"""From an ONNX model to a TensorRT plan, on a GPU or ahead of time without one."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_trt import cuda
from pytest_trt.backends import tensorrt_versions as versions
from pytest_trt.backends.base import BuildJob, BuildReport, Progress
from pytest_trt.backends.tensorrt_layers import shares
from pytest_trt.backends.tensorrt_load import DeviceEngine
from pytest_trt.backends.tensorrt_log import logger
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.records import Layer
from pytest_trt.spec import EngineSpec

TOLD_EVERY_S = 0.1
_PROVED = frozenset(("fp16", "bf16", "int8", "fp8"))
_NETWORK_TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}


def build(trt: Any, job: BuildJob, progress: Progress) -> BuildReport:
    """Write `job.output`/plan.

    Raises BackendError where no GPU works and none is named to build for, BuildError with TensorRT's own words where it
    refuses the model or an option, and where the precision that was asked for is in no layer of what was built.

    The builder chooses a layer's precision by timing. Timings that an earlier build left in the cache were taken at
    other clocks: where they made it choose nothing of what was asked for, everything is timed anew, once.
    """
    attempts = [job] if job.timing_cache is None else [job, dataclasses.replace(job, timing_cache=None)]
    fault = ""
    for attempt in attempts:
        report, fault = _build(trt, attempt, progress)
        if not fault:
            return report
        progress("timing everything anew", -1.0)
    raise BuildError(fault)


def _build(trt: Any, job: BuildJob, progress: Progress) -> tuple[BuildReport, str]:
    """One build, and why it is not what was asked for, if it is not."""
    started = time.perf_counter()
    ahead = bool(job.spec.compute_capabilities)
    if ahead:
        versions.need(trt, "compute_capabilities")
    else:
        cuda.device(job.device).activate()
    typed = versions.strongly_typed(trt.__name__, trt.__version__)
    log = logger(trt)
    log.clear()
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # what the bindings make of a null pointer
        raise BackendError(f"{trt.__name__} {trt.__version__} makes no builder: {log.why()}") from error
    network = builder.create_network(versions.network_flags(trt, typed))
    progress("parsing the model", -1.0)
    parser = _parse(trt, network, Path(job.model))
    config = _configure(trt, builder, network, job, typed)
    with _timing_cache(trt, config, job) as notes:
        monitor = _monitor(trt, config, progress)
        progress("building", -1.0)
        log.clear()
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(f"{trt.__name__} {trt.__version__} cannot build {Path(job.model).name}: {log.why()}")
    path = Path(job.output) / "plan"
    path.write_bytes(memoryview(plan))
    layers: tuple[Layer, ...] = ()
    if typed:
        precisions, proof = _network_shares(network), "model"
    else:
        progress("inspecting", -1.0)
        layers = _inspect(trt, path, job)
        precisions = shares(layers)
        proof = "inspector" if precisions else ""
    size = path.stat().st_size
    del plan, monitor, parser
    report = BuildReport(time.perf_counter() - started, size, precisions, proof, layers, tuple(notes))
    return report, _missing_precision(job.spec, report)


def _parse(trt: Any, network: Any, model: Path) -> Any:
    """Fill the network; the parser owns the weights and is returned so that it outlives the build."""
    if not hasattr(trt, "OnnxParser"):
        raise BuildError(f"{trt.__name__} builds no engines: build with tensorrt, and give the plan")
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse_from_file(str(model)):
        said = [_parser_error(parser.get_error(i), model) for i in range(parser.num_errors)]
        raise BuildError(f"TensorRT's parser refuses {model.name}: {'; '.join(said) or logger(trt).why()}")
    if network.num_outputs == 0:
        raise BuildError(f"{model.name}, parsed, has no outputs: is it a whole ONNX model? {logger(trt).why()}")
    return parser


def _parser_error(error: Any, model: Path) -> str:
    """The parser's words with the node and its operator, which 8.6 gives as a number only."""
    name, operator = (str(getattr(error, key, lambda: "")()) for key in ("node_name", "node_operator"))
    if not operator and error.node() >= 0:
        with contextlib.suppress(ImportError, OSError, IndexError):
            import onnx

            node = onnx.load(str(model), load_external_data=False).graph.node[error.node()]
            name, operator = node.name, node.op_type
    where = f"node {name or error.node()} ({operator}): " if operator else ""
    return where + str(error.desc())


def _configure(trt: Any, builder: Any, network: Any, job: BuildJob, typed: bool) -> Any:
    spec, config = job.spec, builder.create_builder_config()
    _set_targets(trt, config, spec)
    _set_precision(trt, network, config, spec, typed)
    for what, on in (("tf32", spec.tf32), ("sparsity", spec.sparsity), ("refit", spec.refit),
                     ("version_compatible", spec.version_compatible)):  # fmt: skip
        if on:
            config.set_flag(versions.need(trt, what))
        elif versions.has(trt, what):
            config.clear_flag(versions.need(trt, what))
    if spec.hardware_compatibility != "none":
        level = f"hardware_compatibility={spec.hardware_compatibility}"
        config.hardware_compatibility_level = versions.need(trt, level)
    if spec.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_mb * 10**6)
    for option, attribute in (("optimization_level", "builder_optimization_level"),
                              ("avg_timing_iterations", "avg_timing_iterations"),
                              ("max_aux_streams", "max_aux_streams")):  # fmt: skip
        if (value := getattr(spec, option)) is not None:
            versions.need(trt, option)
            setattr(config, attribute, value)
    config.profiling_verbosity = getattr(trt.ProfilingVerbosity, spec.profiling_verbosity.upper())
    if spec.tactic_sources is not None:
        config.set_tactic_sources(_tactic_sources(trt, spec.tactic_sources))
    if versions.has(trt, "profile_sharing"):  # several contexts on one profile; 10 and later always allow it
        config.set_preview_feature(versions.need(trt, "profile_sharing"), True)
    _add_profiles(builder, network, config, job)
    return config


def _set_targets(trt: Any, config: Any, spec: EngineSpec) -> None:
    if not spec.compute_capabilities:
        return
    config.num_compute_capabilities = len(spec.compute_capabilities)
    for index, number in enumerate(spec.compute_capabilities):
        target = getattr(trt.ComputeCapability, f"SM{number}", None)
        if target is None:
            known = sorted(int(name[2:]) for name in vars(trt.ComputeCapability) if name.startswith("SM"))
            raise BuildError(
                f"compute capability {number} is none that {trt.__name__} {trt.__version__} builds for: choose from "
                f"{', '.join(map(str, known))}"
            )
        config.set_compute_capability(target, index)


def _set_precision(trt: Any, network: Any, config: Any, spec: EngineSpec, typed: bool) -> None:
    """Allow what the spec asks for; where networks are strongly typed, the model has been converted before."""
    if spec.precision == "int8" and not _quantised(trt, network):
        raise BuildError("precision='int8' needs a model that says where it is quantised: give one with QuantizeLinear "
                         "and DequantizeLinear (onnxruntime.quantization makes it)")  # fmt: skip
    if typed or spec.precision == "fp32":
        return
    wanted = [spec.precision] if spec.precision != "best" else [p for p in _PROVED if versions.has(trt, p)]
    if spec.precision in ("int8", "fp8"):
        wanted.append("fp16")
    for precision in wanted:
        config.set_flag(versions.need(trt, precision))


def _quantised(trt: Any, network: Any) -> bool:
    return any(network.get_layer(i).type == trt.LayerType.DEQUANTIZE for i in range(network.num_layers))


def _tactic_sources(trt: Any, names: tuple[str, ...]) -> int:
    known = [name for name in vars(trt.TacticSource) if name.isupper()]
    for name in names:
        if name.upper() not in known:
            option = f"tactic_sources={name.upper()}"
            had = f" ({versions.SUPPORT[option].where()} had it)" if option in versions.SUPPORT else ""
            lacks = f"tactic source {name!r} is not in {trt.__name__} {trt.__version__}{had}"
            raise BuildError(f"{lacks}: choose from {', '.join(known)}")
    return sum(1 << int(getattr(trt.TacticSource, name.upper())) for name in names)


def _add_profiles(builder: Any, network: Any, config: Any, job: BuildJob) -> None:
    inputs = {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}
    read_by_host = [tensor for tensor in inputs.values() if tensor.is_shape_tensor]
    later = [tensor for tensor in map(network.get_output, range(network.num_outputs)) if -1 in tuple(tensor.shape)]
    for ranges in job.profiles or (({},) if read_by_host or later else ()):  # else 8.6 tells no shapes at all
        profile = builder.create_optimization_profile()
        for name, (low, best, high) in ranges.items():
            if name not in inputs:
                raise BuildError(f"the model, parsed, has no input {name!r}: it has {', '.join(inputs)}")
            if -1 in tuple(inputs[name].shape):
                profile.set_shape(name, low, best, high)
        for tensor in read_by_host:
            profile.set_shape_input(tensor.name, *_shape_values(tensor, job.spec))
        if config.add_optimization_profile(profile) < 0:
            raise BuildError(f"TensorRT refuses the profile {dict(ranges)}: give min <= opt <= max for every input")


def _shape_values(tensor: Any, spec: EngineSpec) -> tuple[list[int], list[int], list[int]]:
    """The (min, opt, max) values of a shape tensor, from the range that inputs are drawn from."""
    if tensor.name not in spec.input_ranges:
        message = f"input {tensor.name!r} is read by the host to know shapes: give its values a range, input_ranges"
        raise BuildError(f"{message}={{{tensor.name!r}: (low, high)}}")
    low, high = map(int, spec.input_ranges[tensor.name])
    count = 1
    for size in tensor.shape:
        count *= size
    return [low] * count, [(low + high) // 2] * count, [high] * count


@contextlib.contextmanager
def _timing_cache(trt: Any, config: Any, job: BuildJob) -> Iterator[list[str]]:
    """Build with the timing cache of `job.timing_cache`, and write it back, with what others added to it meanwhile."""
    notes: list[str] = []
    if job.timing_cache is None or job.spec.compute_capabilities:  # ahead of time, nothing is timed
        yield notes
        return
    path = Path(job.timing_cache)
    stored = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, False):
        notes.append(f"the timing cache {path} is not of this TensorRT and GPU: started a new one")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    yield notes
    if path.exists() and (now := path.read_bytes()) != stored:
        other = config.create_timing_cache(now)
        if other is not None:
            cache.combine(other, False)
    _write(path, bytes(memoryview(cache.serialize())))


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)  # noqa: PTH105 - both are text here
    except BaseException:
        Path(temporary).unlink()
        raise


def _monitor(trt: Any, config: Any, progress: Progress) -> Any:
    """TensorRT's own progress, where it tells; the object must live as long as the build."""
    if not versions.has(trt, "progress"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """The share done is the sum over open phases of done steps, each phase a step of its parent."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, tuple[str | None, int, int]] = {}
            self._told = -math.inf

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._phases[phase] = (parent, 0, max(steps, 1))
            self._tell(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            parent, _, steps = self._phases.get(phase, (None, 0, 1))
            self._phases[phase] = (parent, step + 1, steps)
            self._tell(phase)
            return True

        def _tell(self, phase: str) -> None:
            """Not every one of some thousand steps a second."""
            if (now := time.monotonic()) - self._told >= TOLD_EVERY_S:
                self._told = now
                progress(phase, self._share(phase))

        def phase_finish(self, phase: str) -> None:
            self._phases.pop(phase, None)

        def _share(self, phase: str) -> float:
            share, name = 0.0, phase
            while (known := self._phases.get(name)) is not None:
                parent, done, steps = known
                share = min((done + share) / steps, 1.0)
                if parent is None:
                    return share
                name = parent
            return -1.0

    monitor = Monitor()
    config.progress_monitor = monitor
    return monitor


def _network_shares(network: Any) -> dict[str, float]:
    """The share of layers in each precision, as the parsed, strongly typed network says: what is built keeps them."""
    found = []
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        types = [layer.get_output(j).dtype for j in range(layer.num_outputs)]
        names = [str(dtype).rpartition(".")[2] for dtype in types]
        if layer.num_inputs and names and names[0] in _NETWORK_TYPES:  # a constant has no inputs and computes nothing
            found.append(Layer(layer.name, precision=_NETWORK_TYPES[names[0]]))
    return shares(found)


def _inspect(trt: Any, plan: Path, job: BuildJob) -> tuple[Layer, ...]:
    """The layers of the plan that was just built."""
    engine = DeviceEngine(trt, plan, cuda.device(job.device), host_code=True)
    try:
        return engine.layers()
    finally:
        engine.close()


def _missing_precision(spec: EngineSpec, report: BuildReport) -> str:
    """That no layer has the precision which was asked for; empty where one has, or nothing can tell."""
    if spec.precision not in _PROVED or not report.proved_by or report.precisions.get(spec.precision):
        return ""
    built = ", ".join(f"{share:.0%} {name}" for name, share in report.precisions.items()) or "nothing that tells"
    return (
        f"precision={spec.precision!r} was asked for and no layer has it (there is {built}): convert the model, or "
        "ask for what this GPU is faster in"
    )
