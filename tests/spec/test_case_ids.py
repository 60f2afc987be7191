"""Test the ids of a matrix's combinations, and that those of earlier versions are recognised."""

from __future__ import annotations

import pytest

from pytest_trt.spec.case_ids import case_id, current_node_id, former_node_ids


def calibrate() -> None: ...


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"precision": "fp16", "batch": 8, "S": 128}, "fp16-b8-S128"),
        ({"dim1": 2, "opt_level": 3, "cuda_graph": False}, "dim1:2-opt_level3-cuda_graph:False"),
        ({"tile": 0.5, "calibration": calibrate}, "tile0.5-calibration:calibrate"),
        ({"keep_fp32": ("a b", "c=d")}, "keep_fp32:_a_b_c_d_"),
    ],
)
def test_an_id_has_only_characters_that_an_expression_accepts(case: dict[str, object], expected: str) -> None:
    assert case_id(case) == expected


@pytest.mark.parametrize(
    ("former", "current"),
    [
        ("t.py::test_m[fp16-b8-S=128]", "t.py::test_m[fp16-b8-S128]"),
        ("t.py::test_m[cuda_graph=False-dim1=2-fast]", "t.py::test_m[cuda_graph:False-dim1:2-fast]"),
        ("t.py::test_m[b=8]", "t.py::test_m[b8]"),
    ],
)
def test_an_earlier_id_is_recognised(former: str, current: str) -> None:
    assert current_node_id(former) == current
    assert former in former_node_ids(current)
    assert current_node_id(current) == current


def test_a_pattern_of_earlier_ids_is_recognised() -> None:
    assert current_node_id("*::test_m[*-S=*]") == "*::test_m[*-S*]"
    assert current_node_id("*::test_m[S=1?8]") == "*::test_m[S1?8]"


def test_an_id_without_axes_has_no_earlier_form() -> None:
    assert list(former_node_ids("t.py::test_m")) == list(former_node_ids("t.py::test_m[fast]")) == []
    assert current_node_id("t.py::test_a=b") == "t.py::test_a=b"


def test_an_id_with_many_axes_has_few_earlier_forms() -> None:
    axes = "-".join(f"{name}8" for name in "abcdefghijklmnop")
    assert list(former_node_ids(f"t.py::test_m[{axes}]")) == [f"t.py::test_m[{axes.replace('8', '=8')}]"]
