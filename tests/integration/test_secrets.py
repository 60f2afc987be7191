"""Test that no run, report or command shows the credentials in the URL of --trt-baseline-dir."""

from __future__ import annotations

import base64
import gzip
import json
import re

import pytest
from samples.pytest_runs import ENGINE, MEASURES

from pytest_trt.cli.main import main

SECRET = "Zq/p@ss?7X"
PLAIN = "Zqp4ss7X"
URL = f"memory://u:{PLAIN}@h/x"
REPORTS = ("--trt-report=html:out.html", "--trt-report=md:out.md", "--trt-report=json:out.json", "--junitxml=out.xml")


def everything_written(project: pytest.Pytester, result: pytest.RunResult) -> str:
    """Return everything that the run wrote: its output and its reports, with the packed sections of the HTML report."""
    reports = [path.read_text() for path in project.path.iterdir() if path.suffix in (".html", ".md", ".json", ".xml")]
    packed = [text for report in reports for text in re.findall(r'class="packed">([^<]*)<', report)]
    sections = [gzip.decompress(base64.b64decode(text)).decode() for text in packed]
    return "\n".join((result.stdout.str(), result.stderr.str(), *reports, *sections))


@pytest.mark.parametrize("url", [f"memory://u:{SECRET}@h/x", f"simplecache::memory://h/x?sig={PLAIN}"])
def test_run_that_saves_shows_no_credentials(project: pytest.Pytester, url: str) -> None:
    project.makepyfile(
        test_m=ENGINE + MEASURES + "def test_fails(trt_runner):\n    trt_runner.measure()\n    assert 0\n"
    )
    options = ("--trt-baseline-save", "--trt-strict", "-vv", "-l", "-ra", "--full-trace", *REPORTS)
    result = project.runpytest_subprocess(f"--trt-baseline-dir={url}", *options)
    shown = everything_written(project, result)
    assert "***" in shown
    assert PLAIN not in shown
    assert "ss?7X" not in shown


@pytest.mark.parametrize("more", [(), ("-n", "1"), ("--trt-baseline-ref=HEAD",), ("--trt-against=HEAD",)])
def test_failing_store_shows_no_credentials(project: pytest.Pytester, more: tuple[str, ...]) -> None:
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.makeconftest(
        """
        import fsspec
        class Leaky(fsspec.AbstractFileSystem):
            protocol = "leaky"
            def __init__(self, **options): raise ConnectionError(f"cannot reach {options}")
            @staticmethod
            def _get_kwargs_from_urls(path): return {"url": path}
        fsspec.register_implementation("leaky", Leaky, clobber=True)
        """
    )
    url = f"leaky://u:{PLAIN}@h/x"
    result = project.runpytest_subprocess(f"--trt-baseline-dir={url}", "-vv", "-l", *more)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert PLAIN not in everything_written(project, result)


@pytest.mark.parametrize(
    "arguments",
    [
        ["baseline", "list", f"--baseline-dir={URL}"],
        ["baseline", "rename", "a", "b", f"--baseline-dir={URL}"],
        ["compare", URL, f"{URL}#other"],
        ["history", "test", f"--baseline-dir=no{URL}"],
        ["history", "test", f"--baseline-dir=s3:/u:{PLAIN}@h"],
    ],
)
def test_commands_show_no_credentials(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    shown = "".join(capsys.readouterr())
    assert PLAIN not in shown
    assert "***" in shown or "s3:/" in shown


def test_head_of_the_run_shows_its_command_without_credentials(project: pytest.Pytester) -> None:
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.makeconftest("def pytest_addoption(parser):\n    parser.addoption('--api-token')\n")
    options = (f"--trt-baseline-dir={URL}?x={PLAIN}", f"--api-token={PLAIN}", "-k", "not token")
    project.runpytest_inprocess(*options, "--trt-disable", "--trt-report=json:out.json")
    written = (project.path / "out.json").read_text()
    assert PLAIN not in written
    head = json.loads(written)["head"]
    assert head["command"][-2:] == ["--trt-disable", "--trt-report=json:out.json"]
    assert "--api-token=***" in head["command"]
    assert "not token" in head["command"]
    assert (head["project"], head["interrupted"]) == (project.path.name, False)
    assert head["duration_s"] > 0
