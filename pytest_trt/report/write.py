"""Write a report in one of the formats of --trt-report."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_trt.core.atomic import write_atomically
from pytest_trt.core.records import Result
from pytest_trt.core.report_formats import REPORT_FORMATS
from pytest_trt.report.header import Header


def write(form: str, path: Path, results: Sequence[Result], header: Header) -> None:
    """Write the report to `path`, completely or not at all, and create its folder.

    Args:
        form: The name of a format in REPORT_FORMATS.
        path: The file, or the folder of a format that has several files.
        results: The tests' results, in the order of the report.
        header: The facts about the run as a whole.

    Raises:
        OSError: A file cannot be written; the error names it.
    """
    report_format = REPORT_FORMATS[form]
    module = importlib.import_module(report_format.module)
    if not report_format.is_folder:
        _write(path, module.render(results, header))
        return
    for name, content in module.files(results):
        _write(path / name, content)


def _write(path: Path, content: str | Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
