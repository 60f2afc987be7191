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
        module: The module that defines `render(results, header)`, which returns the text or yields its parts. For a
            folder, it defines `files(results)`, which yields the name and the content of each file.
        is_folder: Whether the report is a folder of files, rather than one file.
        needs_layers: Whether the report contains that of TensorRT's engine inspector, which is long and not kept
            otherwise.
        needs_samples: Whether the report contains all samples. Otherwise a part of them is kept.
        needs_reference: Whether the report shows what each test was compared with: samples, layers and history.
        libraries: The modules that the report needs, which the extra `report` installs.
    """

    module: str
    is_folder: bool = False
    needs_layers: bool = False
    needs_samples: bool = False
    needs_reference: bool = False
    libraries: tuple[str, ...] = ()


REPORT_FORMATS: Mapping[str, ReportFormat] = {
    "html": ReportFormat("pytest_trt.report.html", needs_reference=True, libraries=("jinja2", "plotly")),
    "md": ReportFormat("pytest_trt.report.markdown"),
    "json": ReportFormat("pytest_trt.report.result_json"),
    "json-all": ReportFormat("pytest_trt.report.whole_json", needs_samples=True),
    "benchmark-json": ReportFormat("pytest_trt.report.benchmark_json", needs_samples=True),
    "trtexec": ReportFormat("pytest_trt.report.trtexec_json", is_folder=True, needs_layers=True, needs_samples=True),
}
