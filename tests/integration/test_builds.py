"""Test --trt-builds: the build lottery."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_identical_builds_are_reported(project, verdicts, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-builds=3", "--trt-cache-dir=own", "--trt-baseline=off", *xdist)
    result.assert_outcomes(passed=1)
    (saved,) = json.loads((project.path / "out.json").read_text())["results"]
    assert "3 builds gave one and the same plan" in saved["measurement"]["notes"]
    result.stdout.fnmatch_lines(["*3 builds gave one and the same plan*"])
