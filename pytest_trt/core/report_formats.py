"""The table of the formats that --trt-report writes.

A new format is one row here, and one module in `pytest_trt.report`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class ReportFormat:
    """A frozen record of one format.

    Attributes:
        module: The module that defines `render(results, header) -> str`. For a folder, it defines
            `files(results) -> Mapping[str, str]`, the contents by file name.
        is_folder: Whether the report is a folder of files, rather than one file.
        needs_layers: Whether the report contains that of TensorRT's engine inspector, which is long and not kept
            otherwise.
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
