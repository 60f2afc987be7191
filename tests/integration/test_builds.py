"""--trt-builds: the build lottery."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_builds_that_give_one_plan_are_said_to(project, verdicts, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-builds=3", "--trt-cache-dir=own", "--trt-baseline=off", *xdist)
    result.assert_outcomes(passed=1)
    (told,) = json.loads((project.path / "out.json").read_text())["results"]
    assert "3 builds gave one and the same plan" in told["measurement"]["notes"]
    result.stdout.fnmatch_lines(["*3 builds gave one and the same plan*"])
