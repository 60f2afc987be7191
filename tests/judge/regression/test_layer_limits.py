"""Test what a test may require of its engine's layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_trt.core.precision import UNREPORTED
from pytest_trt.core.records import Layer, LayerProfile, Verdict
from pytest_trt.errors import DeclarationError
from pytest_trt.judge.regression.layer_limits import judge_layers, judge_unchanged
from pytest_trt.spec.expectations import LayerLimits


def conv(name: str, precision: str = "fp16", **changes: Any) -> Layer:
    layer = Layer(name, 0.01, "CaskConvolution", "sm90", precision, "Half -> Half", (name,))
    return dataclasses.replace(layer, **changes)


def reformat(target: str) -> Layer:
    return Layer(f"Reformatting CopyNode for Input Tensor 0 to {target}", 0.001, "Reformat", precision="fp32")


ENGINE = (conv("encoder.0"), reformat("encoder.1"), conv("encoder.1"), conv("head", "fp32"))


def judge(layers: Sequence[Layer] = ENGINE, **limits: Any) -> Verdict:
    (verdict,) = judge_layers(LayerLimits(**limits), layers, "TensorRT")
    assert verdict.basis == "layers"
    return verdict


@pytest.mark.parametrize(
    ("limits", "status", "text"),
    [
        ({"max_layers": 4}, "ok", "layers ok: 4, at most 4"),
        ({"max_layers": 3}, "over_budget", "layers over budget: 4, at most 3"),
        ({"max_reformats": 1}, "ok", "reformats ok: 1, at most 1"),
        ({"max_reformats": 0}, "over_budget", "reformats over budget: 1, at most 0"),
        ({"no_fp32": ["encoder.*"]}, "ok", "no_fp32 ok: none of 2 named layers computes in fp32"),
        ({"no_fp32": "*"}, "over_budget", "no_fp32 over budget: 2 of 4 named layers compute in fp32"),
        ({"no_fp32": ["encoder.*", "head"]}, "over_budget", "no_fp32 over budget: 1 of 3 named layers"),
        ({"no_fp32": ["decoder.*"]}, "error", "no layer is 'decoder.*': name layers of this engine, such as encoder.0"),
        ({"no_fp32": ["encoder.*", "hed"]}, "error", "no layer is 'hed'"),
    ],
)
def test_a_limit_is_kept_or_broken(limits: dict[str, Any], status: str, text: str) -> None:
    verdict = judge(**limits)
    assert (verdict.status, verdict.figure) == (status, next(iter(limits)))
    assert text in verdict.text


def test_a_broken_limit_names_the_layers() -> None:
    assert judge(no_fp32=["head"]).details == ("head (CaskConvolution) fp32",)
    many = judge([conv(f"conv{number}", "fp32") for number in range(7)], no_fp32=["conv*"])
    assert many.details[4:] == ("conv4 (CaskConvolution) fp32", "and 2 more")
    six, five = ([conv(f"conv{number}", "fp32") for number in range(count)] for count in (6, 5))
    assert judge(six, no_fp32=["conv*"]).details[5:] == ("and 1 more",)
    assert len(judge(five, no_fp32=["conv*"]).details) == 5
    assert judge(max_layers=4).details == ()
    assert len(judge(max_layers=3).details) == 4


def test_a_pattern_that_matches_nothing_shows_three_layers_by_one_node_each() -> None:
    layers = [conv(name, nodes=(name, f"{name}.relu")) for name in ("one", "two", "three", "four")]
    assert judge(layers, no_fp32=["five"]).text.endswith("name layers of this engine, such as one, two, three")


def test_every_limit_has_a_verdict() -> None:
    found = judge_layers(LayerLimits(max_layers=9, max_reformats=9, no_fp32=["encoder.*"]), ENGINE, "TensorRT")
    assert [verdict.figure for verdict in found] == ["max_layers", "max_reformats", "no_fp32"]


def test_an_engine_that_reports_no_layers_cannot_be_checked() -> None:
    verdict = judge([], max_reformats=0)
    assert verdict.status == "error"
    assert verdict.text == "trt_layers cannot be checked: TensorRT reports no layers of this engine"


def test_a_layer_is_named_by_the_nodes_that_it_came_from() -> None:
    fused = conv("Conv_0 + Relu_1", "fp32", nodes=("encoder.conv", "encoder.relu"))
    assert judge([fused], no_fp32=["encoder.conv"]).status == "over_budget"
    by_name = conv("Conv_0 + Relu_1", "fp32", nodes=())
    assert judge([by_name], no_fp32=["Relu_1"]).status == "over_budget"


def test_fp32_of_onnx_runtime() -> None:
    assert judge([conv("encoder.0", "float32")], no_fp32=["encoder.*"]).status == "over_budget"


def test_an_unreported_precision_is_not_a_pass() -> None:
    fused = judge([conv("encoder.0", UNREPORTED), conv("encoder.1")], no_fp32=["encoder.*"])
    assert fused.status == "inconclusive"
    assert "1 of 2 named layers are fused, and report no precision" in fused.text
    silent = judge([conv("encoder.0", "", formats="")], no_fp32=["encoder.*"])
    assert silent.status == "error"
    assert "build the engine with profiling_verbosity='detailed'" in silent.text
    integers = judge([conv("encoder.0", "", formats="Int64 -> Int64")], no_fp32=["encoder.*"])
    assert integers.status == "ok"


def unchanged(new: Sequence[Layer], old: Sequence[Layer] = ENGINE) -> Verdict:
    return judge_unchanged(LayerProfile(tuple(new)), LayerProfile(tuple(old)))


def test_the_same_layers_are_unchanged() -> None:
    assert unchanged(ENGINE).status == "ok"
    other_kernels = [dataclasses.replace(layer, ms=1.0, tactic="other", formats="NHWC -> NHWC") for layer in ENGINE]
    assert unchanged(other_kernels).status == "ok"


def test_layers_that_were_numbered_anew_are_unchanged() -> None:
    old = [conv(f"Conv_{number}") for number in range(4)]
    for shift in (1, 7):
        assert unchanged([conv(f"Conv_{number + shift}") for number in range(4)], old).status == "ok"


@pytest.mark.parametrize(
    ("new", "kind"),
    [
        ((*ENGINE, conv("tail")), "1 x new layer"),
        (ENGINE[:-1], "1 x layer gone"),
        ((*ENGINE, reformat("head")), "1 x new reformat"),
        ((ENGINE[0], *ENGINE[2:]), "1 x reformat gone"),
        ((*ENGINE[:-1], conv("head", "fp16")), "1 x other precision"),
        ((conv("encoder.0", "fp32"), *ENGINE[1:-1], conv("head", "fp16")), "2 x other precision"),
        ((*ENGINE[:-1], conv("head", "fp32", nodes=("head", "relu"))), "1 x fused differently"),
    ],
)
def test_a_changed_layer_regresses(new: Sequence[Layer], kind: str) -> None:
    verdict = unchanged(new)
    assert verdict.status == "regressed"
    assert f"layers regressed: {kind} ({len(new)} layers, the baseline's engine has 4)" in verdict.text
    assert verdict.details == verdict.causes != ()
    assert " ms" not in " ".join(verdict.causes)  # nothing was timed


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "trt_layers: nothing is required: name a requirement"),
        ({"max_reformats": -1}, "trt_layers: max_reformats is -1: it must be 0 or above"),
        ({"max_layers": 0}, "trt_layers: max_layers is 0: it must be 1 or above"),
        ({"no_fp32": [""]}, "trt_layers: no_fp32 has an empty pattern"),
        ({"no_fp32": [3]}, "trt_layers: no_fp32"),
        ({"max_layers": "4"}, "trt_layers: max_layers"),
        ({"unchanged": "yes"}, "trt_layers: unchanged"),
    ],
)
def test_invalid_limits(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        LayerLimits(**limits)
    assert str(caught.value).startswith(message)
