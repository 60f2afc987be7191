"""Test how models are found and what their budgets are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.core.records import Estimate
from pytest_trt.errors import DeclarationError
from pytest_trt.trial.survey import Wishes, budget_with_headroom, check_wishes, find_models, read_candidate


def test_models_of_the_project_are_found_and_no_others(tmp_path):
    kept = ["a.onnx", "m/B.ONNX", "m/deep/c d.onnx"]
    others = [".venv/a.onnx", ".git/a.onnx", "m/node_modules/a.onnx", "env/pyvenv.cfg", "env/lib/a.onnx", ".a.onnx",
              "engines/CACHEDIR.TAG", "engines/models/a.onnx", "a.onnx.data", "m.txt"]  # fmt: skip
    for name in (*kept, *others):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "broken.onnx").symlink_to("nowhere")
    found = find_models(tmp_path, pytest.fail)
    assert [str(path.relative_to(tmp_path)) for path in found] == kept


def test_unreadable_folders_are_reported():
    reported: list[str] = []
    assert not list(find_models(Path("/no/such"), reported.append))
    assert reported == ["/no/such cannot be read (No such file or directory): its models are left out"]


def test_wishes_hold_for_the_models_that_they_fit(save_model):
    wishes = Wishes(batch=3, dims={"N": (1, 4, 8), "M": 2}, input_ranges={"x": (0.0, 1.0)})
    one, other = (read_candidate(save_model(f"{name}.onnx", batch=name), wishes) for name in "NM")
    assert one.arguments == {"dims": {"N": (1, 4, 8)}, "input_ranges": {"x": (0.0, 1.0)}}
    assert other.arguments == {"dims": {"M": 2}, "input_ranges": {"x": (0.0, 1.0)}}
    with pytest.raises(DeclarationError, match="--batch=3 fills no dimension of any model"):
        check_wishes(wishes, [one, other])
    check_wishes(Wishes(dims=wishes.dims), [one, other])
    with pytest.raises(DeclarationError, match=r"--shapes names 'y', which no model has: their .* are M, N, x"):
        check_wishes(Wishes(shapes={"y": (1,)}), [one, other])


@pytest.mark.parametrize(
    ("high", "headroom", "limit"), [(1, 0.2, 1.2), (0.0012345, 0, 0.00124), (1234.0, 1.0, 2470), (9.999, 0, 10.0)]
)
def test_budgets_lie_above_the_whole_interval(high, headroom, limit):
    assert budget_with_headroom(Estimate(0.9 * high, 0.8 * high, high), headroom) == limit
