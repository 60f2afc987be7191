"""Test blame: matched layers of two engines, and the causes of their differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.engine.backends.onnxruntime import open_backend
from pytest_trt.judge.regression.blame import Blame, Cause, blame
from pytest_trt.judge.regression.layer_matching import align
from pytest_trt.spec.engine_spec import EngineSpec

FP16 = "sm90_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize64x32x64_stage5_warpsize2x2x1"
FP32 = "sm90_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x32x32_stage4_warpsize4x1x1"


def conv(number: int, ms: float, **changes: object) -> Layer:
    layer = Layer(
        name=f"Conv_{number} + Relu_{number}",
        ms=ms,
        kind="CaskConvolution",
        tactic=FP16,
        precision="fp16",
        formats="Half NHWC8 -> Half NHWC8",
        nodes=(f"Conv_{number}", f"Relu_{number}"),
    )
    return dataclasses.replace(layer, **changes)  # type: ignore[arg-type]


def reformat(target: str, ms: float) -> Layer:
    return Layer(f"Reformatting CopyNode for Input Tensor 0 to {target}", ms, "NoOp", "0x00000000000003ea", "fp16")


RESNET = tuple(conv(number, 0.010 + 0.001 * number) for number in range(20))


def found(old: Sequence[Layer], new: Sequence[Layer], delta_ms: float | None = None) -> tuple[str, ...]:
    then, now = LayerProfile(tuple(old)), LayerProfile(tuple(new))
    return blame(then, now, now.total_ms - then.total_ms if delta_ms is None else delta_ms).lines()


def test_new_layer() -> None:
    new = (*RESNET[:10], conv(99, 0.028), *RESNET[10:])
    head, first = found(RESNET, new)
    assert head == "blame, explains 100 % of +0.028 ms:"
    assert first.split()[:2] == ["new", "layer"]
    assert "Conv_99 + Relu_99" in first
    assert "+0.028 ms" in first
    assert "sm90_xmma_fprop_implicit_gemm_f16f16" in first


def test_new_layers_of_one_kind_are_one_cause() -> None:
    head, first = found(RESNET, (*RESNET, *(conv(30 + n, 0.010 + 0.001 * n) for n in range(20))))
    assert head.startswith("blame, explains 100 %")
    assert "20 layers, most in Conv_49 + Relu_49" in first


def test_removed_layer() -> None:
    head, first = found(RESNET, RESNET[:-1])
    assert head == "blame, explains 100 % of -0.029 ms:"
    assert first.startswith("  layer gone")


def test_new_reformat_names_its_layer() -> None:
    new = (*RESNET[:10], reformat("Conv_10 + Relu_10", 0.004), *RESNET[10:])
    _, first = found(RESNET, new)
    assert first.startswith("  new reformat")
    assert "before Conv_10" in first


def test_reformats_of_differently_fused_layers_are_matched() -> None:
    old = (reformat("Conv_0 + Relu_0", 0.004), conv(0, 0.1))
    new = (
        reformat("Conv_0", 0.004),
        conv(0, 0.1, name="Conv_0", nodes=("Conv_0",)),
        conv(0, 0.02, name="Relu_0", nodes=("Relu_0",)),
    )
    _, *causes = found(old, new)
    assert [cause.split()[:2] for cause in causes] == [["fusion", "lost"]]


def test_other_tactic() -> None:
    new = (*RESNET[:5], conv(5, 0.030, tactic=FP16.replace("64x32", "32x32")), *RESNET[6:])
    _, first = found(RESNET, new)
    assert first.startswith("  other tactic")
    assert "Conv_5 + Relu_5" in first


def test_other_precision_of_one_layer_is_not_called_a_tactic() -> None:
    new = (*RESNET[:5], conv(5, 0.030, tactic=FP32, precision="FP32"), *RESNET[6:])
    _, first = found(RESNET, new)
    assert first.startswith("  other precision")
    assert first.endswith("fp16 to fp32")


def test_other_precision_of_all_layers_is_one_cause() -> None:
    new = tuple(conv(n, 2 * (layer.ms or 0), tactic=FP32, precision="fp32") for n, layer in enumerate(RESNET))
    head, *causes = found(RESNET, new)
    assert head.startswith("blame, explains 100 %")
    assert len(causes) == 1
    assert "20 layers, most in Conv_19 + Relu_19" in causes[0]


def test_fusion_lost_by_an_extra_output() -> None:
    split = (
        conv(7, 0.016, name="Conv_7", nodes=("Conv_7",)),
        Layer("PWN(Relu_7)", 0.006, "PointWiseV2", "", "fp16", nodes=("Relu_7",)),
    )
    _, first = found(RESNET, (*RESNET[:7], *split, *RESNET[8:]))
    assert first.startswith("  fusion lost")
    assert first.endswith("was Conv_7 + Relu_7")
    assert "+0.0050 ms" in first


def test_fusion_gained() -> None:
    parts = (Layer("MatMul_1", 0.02, "Gemm", nodes=("MatMul_1",)), Layer("Add_1", 0.01, "Eltwise", nodes=("Add_1",)))
    one = Layer("MatMul_1 + Add_1", 0.022, "Gemm", nodes=("MatMul_1", "Add_1"))
    _, first = found(parts, (one,))
    assert first.startswith("  fusion gained")


def test_many_to_many_fusions_are_one_group() -> None:
    old = (Layer("A + B", 0.02, nodes=("A", "B")), Layer("C + D", 0.02, nodes=("C", "D")))
    new = (Layer("A", 0.01, nodes=("A",)), Layer("B + C", 0.03, nodes=("B", "C")), Layer("D", 0.01, nodes=("D",)))
    (group,) = align(old, new)
    assert (group.old, group.new) == (old, new)
    _, first = found(old, new)
    assert first.startswith("  fusion lost")


def test_slower_kernel_without_any_other_change() -> None:
    _, first = found(RESNET, (*RESNET[:-1], conv(19, 0.040)))
    assert first.startswith("  kernel slower")
    assert first.endswith("everything else is the same")


def test_slightly_slower_kernels_suggest_the_clocks() -> None:
    new = tuple(dataclasses.replace(layer, ms=1.04 * (layer.ms or 0)) for layer in RESNET)
    _, first = found(RESNET, new)
    assert "20 layers together" in first
    assert "clocks" in first


def test_node_that_joined_a_layer_is_named() -> None:
    joined = conv(5, 0.030, name="Conv_5 + Relu_5 + Add_9", nodes=("Conv_5", "Relu_5", "Add_9"))
    _, first = found(RESNET, (*RESNET[:5], joined, *RESNET[6:]))
    assert first.endswith("now with Add_9")


def test_renumbered_nodes_are_still_matched() -> None:
    """An additional first node renames all later nodes, since exporters number nodes."""
    old = [conv(n, 0.01 * (1 + n % 7)) for n in range(40)]
    new = [conv(0, 0.01), conv(1, 0.028), *(conv(n + 1, 0.01 * (1 + n % 7)) for n in range(1, 40))]
    head, first = found(old, new)
    assert head == "blame, explains 100 % of +0.028 ms:"
    assert first.startswith("  new layer")


def test_three_largest_causes_are_shown_and_the_report_has_all() -> None:
    new = [*RESNET[:-5], *(conv(15 + n, 0.025 + 0.001 * n + 0.004 * (n + 1)) for n in range(5))]
    then, now = LayerProfile(RESNET), LayerProfile(tuple(new))
    result = blame(then, now, now.total_ms - then.total_ms)
    assert len(result.lines()) == 4
    assert result.lines()[0] == "blame, explains 80 % of +0.060 ms:"
    assert "Conv_19" in result.lines()[1]
    assert len(result.lines(99)) == 6


def test_all_causes_include_those_in_the_other_direction() -> None:
    new = [dataclasses.replace(layer, ms=0.9 * (layer.ms or 0)) for layer in RESNET]
    then, now = LayerProfile(RESNET), LayerProfile((*new, conv(99, 0.1)))
    every = blame(then, now, now.total_ms - then.total_ms).all_causes()
    assert len(every) == 21
    assert every[0].startswith("new layer")
    assert every[-1].startswith("kernel faster   Conv_19")


def test_poorly_explained_change_shows_other_figures() -> None:
    others = {"h2d_ms": (0.012, 0.095), "enqueue_ms": (0.02, 0.021), "sm_mhz": (1980.0, 1200.0)}
    lines = blame(LayerProfile(RESNET), LayerProfile(RESNET), 0.083, others).lines()
    assert lines[0] == "blame: layers explain only 0 % of +0.083 ms"
    assert "  host to device: 0.012 to 0.095 ms" in lines
    assert "  SM clock: 1980 to 1200 MHz" in lines


def test_opposite_changes_of_other_layers_are_summed() -> None:
    faster = [dataclasses.replace(layer, ms=0.98 * (layer.ms or 0)) for layer in RESNET]
    lines = found(RESNET, [*faster, conv(99, 0.028)])
    assert lines[-1].startswith("  the other layers together -0.")


def test_differences_of_untimed_layers_are_listed() -> None:
    bare = [dataclasses.replace(layer, ms=None) for layer in RESNET]
    lines = found(bare, [*bare[:-1], dataclasses.replace(bare[-1], precision="fp32")], 0.01)
    assert lines[0] == "blame: layers were not timed; what differs:"
    assert any("fp16 to fp32" in line for line in lines)


@pytest.mark.parametrize("sides", [((), ()), (RESNET, ()), ((), RESNET)])
def test_empty_profiles_are_accepted(sides: tuple[tuple[Layer, ...], tuple[Layer, ...]]) -> None:
    assert found(*sides, 0.01)


def test_control_characters_in_names_are_removed() -> None:
    lines = found(RESNET, (*RESNET, conv(99, 0.028, name="a\x1b[2Jb", nodes=("z",))))
    assert "a [2Jb" in lines[1]


def ort_profile(
    folder: Path, *, extra: bool = False, shown: str = "", channels: int = 16, double: bool = False
) -> LayerProfile:
    """Return ONNX Runtime's own profile of Conv_A + Relu_A, Conv_B + Relu_B, MatMul_C.

    Args:
        folder: Where the model is saved.
        extra: Whether there is another convolution between A and B.
        shown: An additional output.
        channels: The channels between A and B.
        double: Whether C computes in double precision.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper

    draw = np.random.default_rng(0)
    nodes, weights, tensor, into = [], [], "x", 16
    for name in ("A", *(["Extra"] if extra else []), "B"):
        out = channels if name == "A" else 16
        weight = draw.standard_normal((out, into, 3, 3)).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(weight, f"{name}_w"))
        nodes.append(helper.make_node("Conv", [tensor, f"{name}_w"], [f"{name}_c"], name=f"Conv_{name}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"{name}_c"], [f"{name}_r"], name=f"Relu_{name}"))
        tensor, into = f"{name}_r", out
    kind, made = (TensorProto.DOUBLE, np.float64) if double else (TensorProto.FLOAT, np.float32)
    if double:
        nodes.append(helper.make_node("Cast", [tensor], ["cast"], name="Cast_C", to=kind))
        tensor = "cast"
    weights.append(onnx.numpy_helper.from_array(draw.standard_normal((32, 32)).astype(made), "C_w"))
    nodes.append(helper.make_node("MatMul", [tensor, "C_w"], ["y"], name="MatMul_C"))
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    outputs += [helper.make_tensor_value_info(shown, TensorProto.FLOAT, None)] if shown else []
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 32, 32])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    engine = open_backend("onnxruntime").load(path, "0", EngineSpec(path=str(path), threads=1))
    try:
        return LayerProfile(engine.profile({"x": np.ones((1, 16, 32, 32), np.float32)}, 10), 10)
    finally:
        engine.close()


Change = dict[str, Any]


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ({}, {"extra": True}, ("new layer", "Extra_r_nchwc", "Conv")),
        ({"extra": True}, {}, ("layer gone", "Extra_r_nchwc", "Conv")),
        # a fused layer has the name of its output, so its name changes
        ({}, {"shown": "A_c"}, ("fusion lost", "A_c_nchwc + Relu_A", "was A_r_nchwc")),
        ({"shown": "A_c"}, {}, ("fusion gained", "A_r_nchwc", "was A_c_nchwc + Relu_A")),
        ({}, {"shown": "A_r"}, ("new reformat", "before B_r_nchwc", "ReorderOutput")),
        ({"shown": "A_r"}, {}, ("reformat gone", "before B_r_nchwc", "ReorderOutput")),
        ({}, {"double": True}, ("other precision", "MatMul_C", "float32 to float64")),
        ({"double": True}, {}, ("other precision", "MatMul_C", "float64 to float32")),
        ({}, {"channels": 128}, ("kernel slower", "B_r_nchwc", "everything else is the same")),
        ({"channels": 128}, {}, ("kernel faster", "B_r_nchwc", "everything else is the same")),
    ],
)
def test_causes_in_profiles_of_onnx_runtime(
    tmp_path: Path, before: Change, after: Change, cause: tuple[str, str, str]
) -> None:
    found = blame(ort_profile(tmp_path, **before), ort_profile(tmp_path, **after), 0.01)
    assert cause in [(c.kind, c.layer, c.detail) for c in found.causes]


def test_reformat_of_a_renamed_layer_is_matched(tmp_path: Path) -> None:
    """The model's input is reordered in both models: for A_r_nchwc, and for A_c_nchwc."""
    found = blame(ort_profile(tmp_path), ort_profile(tmp_path, shown="A_c"), 0.01)
    reformats = [(c.kind, c.layer, c.detail) for c in found.causes if "reformat" in c.kind]
    assert reformats == [("new reformat", "before A_r_nchwc", "1 to 2 of them")]


def test_every_layer_is_in_one_group() -> None:
    new = (reformat("Conv_3", 0.01), *RESNET[3:], conv(40, 0.1), Layer("Softmax", 0.1, "Softmax"))
    groups = align(RESNET, new)
    assert sorted(layer.name for group in groups for layer in group.old) == sorted(layer.name for layer in RESNET)
    assert sorted(layer.name for group in groups for layer in group.new) == sorted(layer.name for layer in new)


def causes_of(delta_ms: float, *changes: float) -> Blame:
    return Blame(delta_ms, tuple(Cause("new layer", f"layer {n}", change) for n, change in enumerate(changes)))


@pytest.mark.parametrize(
    ("blamed", "head", "lines"),
    [
        (causes_of(2.0, 1.0), "blame, explains 50 % of +2.000 ms:", 2),
        (causes_of(1.0, 0.6), "blame, explains 60 % of +1.000 ms:", 2),
        (causes_of(1.0, 0.446), "blame: layers explain only 45 % of +1.000 ms", 2),
        (causes_of(1.0, 0.444), "blame: layers explain only 44 % of +1.000 ms", 2),
        (causes_of(1.0, 0.9, 0.026), "blame, explains 93 % of +1.000 ms:", 3),
        (causes_of(1.0, 0.9, 0.02), "blame, explains 90 % of +1.000 ms:", 2),  # too small to be shown
        (causes_of(10.0, 10.0, -1.0), "blame, explains 100 % of +10.000 ms:", 2),
        (causes_of(1.0, 1.0, -0.12), "blame, explains 100 % of +1.000 ms:", 3),  # the others together
        (causes_of(0.0), "blame: layers explain only 0 % of +0.000 ms", 1),
        (causes_of(-1e-9), "blame: layers explain only 0 % of -0.000000 ms", 1),
        (causes_of(0.04, 0.04), "blame, explains 100 % of +0.040 ms:", 2),
        (causes_of(0.004, 0.004), "blame, explains 100 % of +0.0040 ms:", 2),
    ],
)
def test_share_that_layers_explain(blamed: Blame, head: str, lines: int) -> None:
    assert blamed.lines()[0] == head
    assert len(blamed.lines()) == lines


def test_a_change_of_nothing_is_explained_by_nothing() -> None:
    assert causes_of(0.0, 1.0).explained == 0.0
    assert causes_of(2.0, 1.0).timed


def test_other_figures_are_shown_only_if_layers_explain_less_than_half() -> None:
    others = {"enqueue_ms": (1.0, 2.0), "some_gb": (3.0, 4.0)}
    less, half = (dataclasses.replace(causes_of(1.0, share), others=others) for share in (0.4, 0.5))
    assert less.lines()[-1] == "  some: 3 to 4 GB"
    assert len(less.lines()) == len(half.lines()) + 2


@pytest.mark.parametrize(("delta_ms", "first"), [(-0.03, "Conv_1"), (0.03, "Conv_2"), (0.0, "Conv_2")])
def test_causes_in_the_direction_of_the_change_come_first(delta_ms: float, first: str) -> None:
    old, new = [conv(1, 0.1), conv(2, 0.1)], [conv(1, 0.05), conv(2, 0.15)]
    assert blame(LayerProfile(tuple(old)), LayerProfile(tuple(new)), delta_ms).causes[0].layer.startswith(first)


@pytest.mark.parametrize(("count", "causes"), [(3, 3), (4, 1)])
def test_up_to_three_layers_of_a_kind_are_named(count: int, causes: int) -> None:
    added = [conv(30 + n, 0.01) for n in range(count)]
    for old, new in ((RESNET, (*RESNET, *added)), ((*RESNET, *added), RESNET)):
        assert sum("layer" in c.kind for c in kinds(old, new)) == causes


def test_two_layers_of_another_precision_are_one_cause() -> None:
    new = [*RESNET[:2], *(dataclasses.replace(layer, ms=1.0, precision="fp32") for layer in RESNET[2:4]), *RESNET[4:]]
    (layer,) = (c.layer for c in kinds(RESNET, new) if c.kind == "other precision")
    assert layer.startswith("2 layers, most in Conv_")


def kinds(old: Sequence[Layer], new: Sequence[Layer]) -> Sequence[Cause]:
    return blame(LayerProfile(tuple(old)), LayerProfile(tuple(new)), 0.1).causes


def test_layers_that_are_fused_differently() -> None:
    old = (Layer("A + B", 0.02, nodes=("A", "B")), Layer("C", 0.02, nodes=("C",)))
    new = (Layer("A", 0.02, nodes=("A",)), Layer("B + C", 0.04, nodes=("B", "C")))
    (cause,) = kinds(old, new)
    assert (cause.kind, cause.detail) == ("fused differently", "was A + B + C")
    same = (Layer("x", 0.02, nodes=("A", "B")), Layer("y", 0.02, nodes=("B", "C")))
    (cause,) = kinds(same, [dataclasses.replace(layer, ms=0.04) for layer in same])
    assert cause.kind == "kernel slower"
    one = Layer("x", 0.02, nodes=("A",))
    assert kinds([one], [dataclasses.replace(one, name="y", ms=0.04)])[0].kind == "kernel slower"


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (0.1, 0.104, "kernels unchanged"),
        (0.1, 0.106, "kernel slower"),
        (0.1, 0.094, "kernel faster"),
        (None, 0.01, "kernel slower"),
    ],
)
def test_change_of_a_layer_from_which_it_is_a_cause(before: float | None, after: float, kind: str) -> None:
    old = [conv(1, 0.1), dataclasses.replace(conv(2, 1.0), ms=before)]
    new = [conv(1, 0.1), conv(2, after)]
    assert kind in [cause.kind for cause in kinds(old, new)]
    assert (len(kinds(old, new)) == 1) == (kind == "kernels unchanged")


def test_layers_named_by_a_number_or_not_at_all_have_the_names_of_their_nodes() -> None:
    for name in ("123", ""):
        old = Layer(name, 0.1, "Gemm", "0x1", nodes=("MatMul_7", "Add_7"))
        assert kinds([old], [dataclasses.replace(old, ms=0.2)])[0].layer == "MatMul_7 + Add_7"
    assert kinds([Layer("x", 0.1)], [Layer("x", 0.2)])[0].layer == "x"


def test_long_names_and_details_are_cut() -> None:
    (line,) = Blame(1.0, (Cause("new layer", "n" * 44, 1.0, "d" * 88),)).all_causes()
    assert ("n" * 44 in line, line.endswith("d" * 88)) == (True, True)
    (line,) = Blame(1.0, (Cause("new layer", "n" * 45, 1.0, "d" * 89),)).all_causes()
    assert "n" * 42 not in line
    assert ("n" * 41 + "... " in line, "d" * 86 in line, line.endswith("d" * 85 + "...")) == (True, False, True)
