"""Create a small convolutional network that differs in one detail at a time, to test blame.

It builds in seconds because all convolutions have the same shape. It is wide enough to be faster in half precision.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS = ("Convolution", "Activation")


def save(
    path: Path,
    *,
    convolutions: int = 6,
    channels: int = 128,
    size: int = 56,
    added: bool = False,
    shown: int | None = None,
) -> Path:
    """Save the network: x [N, 3, 2 size, 2 size] float32 -> y [N, channels]. Return its path.

    The layers are a stem, and then conv0 + relu0, conv1 + relu1, and so on.

    Args:
        path: The file of the model.
        convolutions: The number of convolutions after the stem.
        channels: The number of channels of each layer.
        size: The height and width of each layer.
        added: Whether to add conv_added + relu_added in the middle.
        shown: The number of a convolution whose result becomes an output of the model.
    """
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def layer(name: str, x: str, in_channels: int, kernel: int, stride: int) -> str:
        values = random.standard_normal((channels, in_channels, kernel, kernel))
        values *= np.sqrt(2 / (in_channels * kernel * kernel))
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w_{name}"))
        pads, strides = [kernel // 2] * 4, [stride, stride]
        node = helper.make_node("Conv", [x, f"w_{name}"], [f"c_{name}"], f"conv{name}", pads=pads, strides=strides)
        nodes.append(node)
        nodes.append(helper.make_node("Relu", [f"c_{name}"], [f"r_{name}"], f"relu{name}"))
        return f"r_{name}"

    x = layer("_stem", "x", 3, 7, 2)
    for number in range(convolutions):
        x = layer(str(number), x, channels, 3, 1)
        if added and number == convolutions // 2:
            x = layer("_added", x, channels, 3, 1)
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["y"], "flatten"))

    def value(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])

    outputs = [value("y", channels)] + ([value(f"c_{shown}", channels, size, size)] if shown is not None else [])
    graph = helper.make_graph(nodes, "chain", [value("x", 3, 2 * size, 2 * size)], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def build_typed(model: Path, plan: Path, batch: int, fp32: tuple[str, ...], level: int = 3) -> None:
    """Build `model` with TensorRT 8.6 or 10: every layer in FP16, except the nodes in `fp32`, which stay in FP32.

    Users write such code, or use trtexec --layerPrecisions. Since TensorRT 11, the model itself contains the types.
    """
    import tensorrt as trt

    from pytest_trt.engine.backends.tensorrt import versions

    log = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(log)
    network = builder.create_network(versions.network_flags(trt, typed=False))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(model)):
        raise RuntimeError(f"{model}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    config.builder_optimization_level = level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    model_input = network.get_input(0)
    profile = builder.create_optimization_profile()
    profile.set_shape(model_input.name, *[(batch, *tuple(model_input.shape)[1:])] * 3)
    config.add_optimization_profile(profile)
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.type in (getattr(trt.LayerType, name.upper()) for name in LAYERS):
            layer.precision = trt.float32 if layer.name in fp32 else trt.float16
            layer.set_output_type(0, layer.precision)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise RuntimeError(f"TensorRT cannot build {model}")
    plan.write_bytes(memoryview(serialized))


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=build_typed.__doc__)
    _parser.add_argument("model", type=Path)
    _parser.add_argument("plan", type=Path)
    _parser.add_argument("--batch", type=int, default=8)
    _parser.add_argument("--fp32", nargs="*", default=[])
    _options = _parser.parse_args()
    build_typed(_options.model, _options.plan, _options.batch, tuple(_options.fp32))
