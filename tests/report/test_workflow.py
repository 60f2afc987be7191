"""Test the workflow that `pytest-trt init --workflow` writes."""

from __future__ import annotations

import pytest
import yaml
from samples.pages import EXAMPLE

from pytest_trt.report import workflow

WORKFLOW = (EXAMPLE / ".github/workflows/performance.yml").read_text()


def test_the_template_is_the_workflow_of_the_example_project():
    text, notes = workflow.render(None, "baselines")
    assert text == WORKFLOW
    assert notes == ("it names the GPU of the example project: set DEVICE and the labels of the runners to yours",)


@pytest.mark.parametrize("device", ["NVIDIA H200", 'A "B": #\\'])
def test_the_device_and_the_folder_are_the_project_s(device):
    text, notes = workflow.render(device, ".trt-baselines")
    found = yaml.safe_load(text)
    assert found["env"]["DEVICE"] == device
    label = {"NVIDIA H200": "h200"}.get(device, "a-b")
    assert [found["jobs"][name]["runs-on"] for name in ("gate", "measure")] == [
        ["self-hosted", "linux", f"{label}-pull-request"], ["self-hosted", "linux", f"{label}-main"]
    ]  # fmt: skip
    assert ("h200" in text) == (label == "h200")
    uploads = [s["with"]["path"] for job in found["jobs"].values() for s in job["steps"] if "path" in s.get("with", {})]
    assert uploads.count(".trt-baselines") == 2
    assert "git add .trt-baselines\n" in text
    assert notes == (f"its runners have the labels {label}-main and {label}-pull-request",)


@pytest.mark.parametrize("folder", ["s3://bucket/x", "/srv/x", "../x", "a b", "-x", "$(x)"])
def test_a_folder_that_a_job_cannot_commit_is_named(folder):
    text, notes = workflow.render("H100", folder)
    assert "git add baselines\n" in text
    assert folder in notes[-1]
