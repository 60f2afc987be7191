"""Test how the facts about a model are shown: nothing is cut, and foreign text stays text."""

from __future__ import annotations

from pytest_trt.core.model_facts import (
    BackendFacts,
    KeptNodes,
    ModelFacts,
    PlanFacts,
    PrecisionFacts,
    TensorFacts,
    WeightFacts,
)
from pytest_trt.report.inspection import render

EVIL = "x\n::error::pwned\x1b[31m\u202e ##[error]"


def facts(name: str) -> ModelFacts:
    nodes = {f"{name}Op": tuple(f"{name}{number}" for number in range(7))}
    return ModelFacts(
        bytes=46_800_000,
        external=(name,),
        opsets={"ai.onnx": 17, name: 1},
        producer=name,
        inputs=(
            TensorFacts(name=name, dtype="float32", dims=("N", "3", "?")),
            TensorFacts(name="s", dtype="int64", dims=()),
        ),
        outputs=(TensorFacts(name="y", dtype="float32", dims=None),),
        operators={name: 3},
        weights=(
            WeightFacts(dtype="float32", tensors=1, values=11_689_512, bytes=46_758_048, low=-1.5, high=7e4,
                        not_finite=(name,), beyond_fp16=("w",)),
        ),
        marker=f"@pytest.mark.trt_engine({name!r}, dims={{'N': (1, 8, 32)}})",
        open_dims=True,
        precision=PrecisionFacts(precision="fp16", nodes=9, kept=(KeptNodes(reason=name, nodes=nodes),), notes=(name,)),
        backend=BackendFacts(name="TensorRT", version="10.9", refusal=f"node {name}: no such operator"),
    )  # fmt: skip


def test_every_fact_is_shown() -> None:
    text = render("m.onnx", facts("a-long-name-" * 9), width=60, colour=False)
    joined = "".join(line.strip() for line in text.splitlines())
    assert "a-long-name-" * 9 in joined.replace(" ", "")
    assert "@pytest.mark.trt_engine('" + "a-long-name-" * 9 + "', dims={'N': (1, 8, 32)})" in text
    short = render("m.onnx", facts("a"), colour=False)
    for part in (
        "m.onnx: an ONNX model, opset 17, a 1, 46.8 MB, from a", "a  float32  N x 3 x ?", "s  int64    scalar",
        "y  float32  unknown rank", "float32  1 tensor  11689512 values  46.8 MB  -1.5 to 70000",
        "NaN or infinities in a", "values beyond float16's range in w", "fp16: 7 of 9 nodes stay in fp32",
        "aOp 7: a0, a1, a2, a3, a4 and 2 more", "TensorRT 10.9 refuses it", "node a: no such operator",
    ):  # fmt: skip
        assert part in short


def test_foreign_text_is_escaped() -> None:
    plan = PlanFacts(bytes=5, product="TensorRT", version="10.9.0.34", capabilities=("8.9",), marker=EVIL)
    for text in (render(EVIL, facts(EVIL), colour=False), render(EVIL, plan, colour=False)):
        assert not {"\x1b", "\u202e"} & set(text)
        assert not any(line.strip().startswith("::") for line in text.splitlines())
        assert "##[" not in text
    assert "8.9" in render("m.plan", plan, colour=False)
