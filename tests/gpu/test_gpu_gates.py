"""Test in whole runs on a GPU what a baseline, a git revision and another interpreter gate."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import chain
import pytest
from gpu_workshop import Workshop

from pytest_trt.cli.main import main
from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.spec.engine_spec import EngineSpec

pytestmark = pytest.mark.serial
DEFAULT = ("ms", "throughput", "memory_mb", "host_mb", "engine_mb")
"""The figures that are gated by default, except for `process_mb`, which NVML does not report in every container."""

Verdicts = dict[str, dict[str, str]]
Run = Callable[..., Verdicts]
SPEC = {"dims": {"N": (4, 4, 4)}, "optimization_level": 0}


def save_chain(project: pytest.Pytester, convolutions: int = 4) -> None:
    chain.save(project.path / "chain.onnx", convolutions=convolutions, channels=64, size=32)


@pytest.fixture
def run(project: pytest.Pytester, workshop: Workshop) -> Run:
    """Return a function that runs tests of `chain.onnx`, and returns the status of each figure by test."""
    ini = project.path / "tox.ini"
    ini.write_text(ini.read_text().replace("trt_backend = onnxruntime", "trt_backend = tensorrt"))
    save_chain(project)

    def run(*options: str) -> Verdicts:
        result = project.runpytest_subprocess(*options)
        print(result.stdout.str(), result.stderr.str())
        results = json.loads((project.path / "out.json").read_text())["results"]
        return {
            one["node_id"].partition("::")[2]: {v["figure"]: v["status"] for v in one["verdicts"]} for one in results
        }

    return run


def write_tests(project: pytest.Pytester, *markers: Sequence[str]) -> None:
    """Write a test for each group of markers: test_0, test_1 and so on."""
    tests = [
        "".join(f"@pytest.mark.{marker}\n" for marker in group) + f"def test_{number}(trt_runner): trt_runner.measure()"
        for number, group in enumerate(markers)
    ]
    project.makepyfile(test_m="\n".join(["import pytest", *tests]))


def engine(**spec: object) -> str:
    return f"trt_engine('chain.onnx', **{ {**SPEC, **spec}!r})"


def fail_by_default(verdicts: dict[str, str]) -> set[str]:
    """Return the figures with a default gate whose verdict fails.

    A short run may leave a verdict undecided. Two builds that chose the same tactics get one verdict only.
    """
    judged = {name: status for name, status in verdicts.items() if name in DEFAULT}
    return {name for name, status in judged.items() if status not in ("ok", "improved", "inconclusive")}


def test_no_default_gate_fails_for_another_build_but_it_does_for_a_larger_engine(
    project: pytest.Pytester, run: Run
) -> None:
    write_tests(project, [engine()])
    run("--trt-baseline-save")
    assert not fail_by_default(run("--trt-no-cache", "--trt-max-slowdown=20%")["test_0"])
    save_chain(project, convolutions=12)
    grown = run("--trt-gate=build_s=900%", "--trt-gate=load_s=900%", "--trt-gate=p99_ms=20%")["test_0"]
    assert (grown["ms"], grown["engine_mb"]) == ("regressed", "regressed")
    assert {"build_s", "load_s", "p99_ms", *DEFAULT} <= grown.keys()


def test_limits_on_layers(project: pytest.Pytester, run: Run) -> None:
    fp16 = engine(precision="fp16", layer_precisions={"conv*": "fp16"})
    limits = "trt_layers(max_layers=LIMIT, max_reformats=20, no_fp32='conv*', unchanged=True)"
    write_tests(
        project,
        [engine(), limits.replace("LIMIT", "1")],
        [fp16, limits.replace("LIMIT", "40")],
        [engine(), "trt_layers(no_fp32='cnov*')"],
    )
    found = run("--trt-baseline-save")
    names = ("max_layers", "max_reformats", "no_fp32")
    assert [found["test_0"][name] for name in names] == ["over_budget", "ok", "over_budget"]
    assert [found["test_1"][name] for name in names] == ["ok", "ok", "ok"]
    assert found["test_2"]["no_fp32"] == "error"
    assert run()["test_1"]["unchanged"] == "ok"
    save_chain(project, convolutions=6)
    assert run()["test_1"]["unchanged"] == "regressed"


def test_a_larger_engine_regresses_against_a_revision(project: pytest.Pytester, run: Run) -> None:
    write_tests(project, [engine()], [engine(), "trt_regression(paired=True, max_slowdown='20%')"])
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "before"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *command], cwd=project.path, check=True)
    unchanged = run("--trt-against=HEAD")
    assert unchanged["test_0"] == {"ms": "ok"}
    assert not fail_by_default(unchanged["test_1"])
    save_chain(project, convolutions=12)
    grown = run("--trt-against=HEAD")["test_0"]
    assert (grown["ms"], grown["engine_mb"]) == ("regressed", "regressed")


def test_two_sides_with_one_plan_pass_every_default_gate(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    model, shape = chain.save(tmp_path / "chain.onnx", convolutions=4, channels=64, size=32), (4, 3, 64, 64)
    job = BuildJob("tensorrt", "0", EngineSpec(optimization_level=0), str(model), str(tmp_path), ({"x": (shape,) * 3},))
    workshop.backend.build(job, lambda text, share: None)
    (tmp_path / "plan").rename(tmp_path / "chain.plan")
    monkeypatch.chdir(tmp_path)
    options = ["--batch=4", "--json", "--max-slowdown=20%", "--gate=load_s=900%", f"--cache-dir={tmp_path / 'cache'}"]
    status = main(["ab", "chain.plan", *(f"--{side}-python={sys.executable}" for side in "ab"), *options])
    found = {v["figure"]: v["status"] for v in json.loads(capfd.readouterr().out)["verdicts"]}
    assert not fail_by_default(found)
    assert (found["load_s"], status) == ("ok", 0)
