"""What a report says of the run as a whole: device, backend, baseline."""

from __future__ import annotations

import dataclasses

from pytest_trt.core.backends import label_of
from pytest_trt.core.records import ALWAYS_FAIL, Environment, Status


@dataclasses.dataclass(frozen=True)
class Header:
    """What a report says of the run as a whole. `baseline` is its name, None where none is compared with; with a
    `commit` it is a git revision's. `failing` are the statuses that fail a test in this run."""

    device: str
    backend: str
    baseline: str | None = None
    failing: frozenset[Status] = ALWAYS_FAIL
    commit: str = ""

    @classmethod
    def from_environment(
        cls,
        environment: Environment,
        baseline: str | None,
        failing: frozenset[Status] = ALWAYS_FAIL,
        commit: str = "",
    ) -> Header:
        return cls(device_name(environment), backend_name(environment), baseline, failing, commit)

    @property
    def title(self) -> str:
        baseline = "no baseline" if self.baseline is None else f"baseline {self.baseline}"
        if self.commit:
            baseline = f"against {self.baseline} ({self.commit})"
        return "trt: " + ", ".join(part for part in (self.device, self.backend, baseline) if part)


def device_name(environment: Environment) -> str:
    """The device's own name, and its slice where it is one."""
    return environment.device + (f" MIG {environment.mig_profile}" if environment.mig_profile else "")


def backend_name(environment: Environment) -> str:
    """The backend and its version, such as `TensorRT 8.6.0`."""
    return f"{label_of(environment.backend)} {environment.backend_version}"


def environment_line(environment: Environment) -> str:
    """Where a figure was measured, in one line."""
    parts = [device_name(environment), backend_name(environment)]
    parts += [f"driver {environment.driver}"] if environment.driver else []
    parts += [f"CUDA {environment.cuda}"] if environment.cuda else []
    parts += [f"{environment.threads} threads"] if environment.kind == "cpu" and environment.threads else []
    parts += [f"commit {_short(environment.commit)}"] if environment.commit else []
    return ", ".join(parts)


def _short(commit: str) -> str:
    """A commit's first digits, and its `+` where files were changed since."""
    return commit[:10] + ("+" if commit.endswith("+") else "")
