"""The settings of a run, as parsed from the command line and the ini file."""

from __future__ import annotations

import dataclasses

from pytest_trt.core.backends import BackendName
from pytest_trt.core.location import Location
from pytest_trt.core.records import ALWAYS_FAIL, Status
from pytest_trt.core.report_formats import REPORT_FORMATS
from pytest_trt.spec.hosts import HostAddress

STRICT: frozenset[Status] = frozenset(("missing", "inconclusive", "unenforced"))
"""The verdicts that fail a test under --trt-strict, in addition to those that always do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run. Each field is described by its option in `pytest_trt.spec.options`.

    Shares are fractions, times are in seconds, and sizes are in bytes.
    """

    backend: BackendName = "auto"
    device: tuple[str, ...] = ("0",)
    hosts: tuple[HostAddress, ...] = ()
    require_device: str | None = None
    compute_capabilities: tuple[int, ...] = ()
    baseline_save: bool = False
    baseline_force: bool = False
    baseline_new_only: bool = False
    baseline_ref: str | None = None
    against: str | None = None
    baseline: str | None = "main"
    baseline_dir: Location = Location(".trt-baselines")
    budgets: str | None = None
    fail_on: frozenset[Status] = frozenset()
    max_slowdown: float = 0.05
    max_memory_growth: float = 0.05
    gates: tuple[tuple[str, float | None], ...] = ()
    resolution: float = 0.005
    max_time_s: float = 10.0
    min_time_s: float = 0.1
    wait_s: float = 60.0
    energy: bool = False
    lock_dir: str | None = None
    cache_dir: str | None = None
    cache_bytes: int = 20 * 10**9
    no_cache: bool = False
    builds: int = 1
    build_only: bool = False
    prebuild: bool = False
    reports: tuple[tuple[str, str], ...] = ()
    only: bool = False
    skip: bool = False
    disabled: bool = False
    bisect: bool = False
    rootdir: str = "."

    @property
    def strict(self) -> bool:
        """Whether every undecided verdict fails its test."""
        return self.fail_on >= STRICT

    @property
    def exports_layers(self) -> bool:
        """Whether to keep the report of TensorRT's engine inspector, which is long. Few report formats need it."""
        return any(REPORT_FORMATS[form].needs_layers for form, _path in self.reports)

    @property
    def exports_samples(self) -> bool:
        """Whether a report contains all samples of each test."""
        return any(REPORT_FORMATS[form].needs_samples for form, _path in self.reports)

    @property
    def keeps_layers(self) -> bool:
        """Whether the layers of every test are timed, rather than only those of a test that fails."""
        return self.baseline_save or self.exports_layers or self.shows_reference

    @property
    def shows_reference(self) -> bool:
        """Whether a report shows what each test was compared with, and the layers of every test."""
        return any(REPORT_FORMATS[form].needs_reference for form, _path in self.reports)

    @property
    def failing(self) -> frozenset[Status]:
        """The verdicts that fail a test in this run."""
        return ALWAYS_FAIL | self.fail_on
