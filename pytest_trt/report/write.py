"""Write a report in one of its formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_trt.core.atomic import write_atomically
from pytest_trt.core.records import Result
from pytest_trt.report.header import Header


def text(form: str, results: Sequence[Result], header: Header) -> str:
    """The report in one of the forms of --trt-report. Raises KeyError for any other."""
    from pytest_trt.report import benchmark_json, html, markdown, result_json

    return {
        "html": lambda: html.render(results, header),
        "md": lambda: markdown.render(results, header),
        "json": lambda: result_json.render(results),
        "benchmark-json": lambda: benchmark_json.render(results),
    }[form]()


def write(form: str, path: Path, results: Sequence[Result], header: Header) -> None:
    """Write that report to `path`, whose folder is made; whole or not at all. `trtexec` is a folder of files. Raises
    OSError."""
    if form == "trtexec":
        from pytest_trt.report import trtexec_json

        for name, content in trtexec_json.files(results).items():
            _write(path / name, content)
    else:
        _write(path, text(form, results, header))


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
