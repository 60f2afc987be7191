"""The formats that --trt-report writes: one row here and one module in `pytest_trt.report` for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class ReportFormat:
    """A frozen record of a report's format.

    Attributes:
        module: The module with `render(results, header) -> str`; of a folder, `files(results) -> Mapping[str, str]`.
        is_folder: Whether the report is a folder of files, by name.
        needs_layers: Whether it shows all that the inspector tells of an engine: that is long, and kept for it alone.
    """

    module: str
    is_folder: bool = False
    needs_layers: bool = False


REPORT_FORMATS: Mapping[str, ReportFormat] = {
    "html": ReportFormat("pytest_trt.report.html"),
    "md": ReportFormat("pytest_trt.report.markdown"),
    "json": ReportFormat("pytest_trt.report.result_json"),
    "benchmark-json": ReportFormat("pytest_trt.report.benchmark_json"),
    "trtexec": ReportFormat("pytest_trt.report.trtexec_json", is_folder=True, needs_layers=True),
}
