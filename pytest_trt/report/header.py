"""The facts about a run as a whole that head a report: device, backend and baseline."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_trt.core.backends import label_of
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import ALWAYS_FAIL, Environment, Result, Status

MOST_HOSTS = 4
"""How many hosts a line names at most."""


@dataclasses.dataclass(frozen=True)
class RunHead:
    """A frozen record of a run of pytest, which heads its JSON.

    Attributes:
        plugin: The version of pytest-trt.
        command: The words of the command, with `***` in place of credentials.
        host: The name of the host.
        project: The name of the project's folder.
        start: When the run began (UTC, ISO 8601).
        duration_s: How long it took. None if it did not end by itself.
        commit: The git commit of the project. It ends in `+` if there were uncommitted changes.
        branch: The git branch of the project.
        interrupted: Whether the run ended before all of its tests had run.
        parts: The heads of the runs that were merged into this one.
    """

    plugin: str
    command: tuple[str, ...]
    host: str
    project: str
    start: str
    duration_s: float | None = None
    commit: str | None = None
    branch: str | None = None
    interrupted: bool = False
    parts: tuple[RunHead, ...] = ()


@dataclasses.dataclass(frozen=True)
class Header:
    """A frozen record of the facts about a run as a whole.

    Attributes:
        device: The name of the device, or of several.
        backend: The name and version of the backend; empty if the name of the device includes it.
        baseline: The name of the baseline or git revision that the tests are compared with, or None.
        failing: The statuses that fail a test in this run.
        commit: The commit of the git revision; empty if `baseline` is a stored baseline.
        run: The run of pytest; None if the results come from elsewhere.
        selftest: What the last self-test of the device caught, in one line; empty if there was none.
        doubtful: The node ids of the tests whose failing verdicts do not hold among all tests of the run.
        run_file: The file of the run's JSON, if it has one.
        findings: What all tests of the run have in common, in sentences.
    """

    device: str
    backend: str
    baseline: str | None = None
    failing: frozenset[Status] = ALWAYS_FAIL
    commit: str = ""
    run: RunHead | None = None
    selftest: str = ""
    doubtful: frozenset[str] = frozenset()
    run_file: str = ""
    findings: tuple[str, ...] = ()

    @classmethod
    def from_environment(
        cls,
        environment: Environment,
        baseline: str | None,
        failing: frozenset[Status] = ALWAYS_FAIL,
        commit: str = "",
    ) -> Header:
        """Return the header of a run in which every test has the same environment."""
        return cls(device_name(environment), backend_name(environment), baseline, failing, commit)

    @classmethod
    def from_results(cls, results: Iterable[Result], baseline: str | None, **fields: Any) -> Header:
        """Return the header of a run whose tests may have several environments, or none."""
        seen = [result.measurement.environment for result in results if result.measurement is not None]
        devices = dict.fromkeys((device_name(environment), backend_name(environment)) for environment in seen)
        device, backend = next(iter(devices), ("nothing measured", ""))
        if len(devices) > 1:
            device, backend = "; ".join(map(", ".join, devices)), ""
        return cls(device, backend, baseline, **fields)

    @property
    def title(self) -> str:
        """The first line of a report."""
        baseline = "no baseline" if self.baseline is None else f"baseline {self.baseline}"
        if self.commit:
            baseline = f"against {self.baseline} ({self.commit})"
        return "trt: " + escape(", ".join(part for part in (self.device, self.backend, baseline) if part))


def device_name(environment: Environment) -> str:
    """Return the name of the device, with the profile of a MIG slice."""
    return environment.device + (f" MIG {environment.mig_profile}" if environment.mig_profile else "")


def backend_name(environment: Environment) -> str:
    """Return the name and version of the backend, such as `TensorRT 8.6.0`."""
    return f"{label_of(environment.backend)} {environment.backend_version}"


def describe_cards(cards: Sequence[Environment]) -> str:
    """Return the cards of one backend in a few words: how many of each kind, the backend, and their hosts."""
    kinds = Counter(map(device_name, cards)).items()
    names = ", ".join(f"{count} x {name}" if count > 1 else name for name, count in kinds)
    hosts = list(dict.fromkeys(card.host_name for card in cards if card.host_name))
    if len(hosts) > MOST_HOSTS:
        hosts[MOST_HOSTS - 1 :] = [f"{len(hosts) - MOST_HOSTS + 1} more"]
    return f"{names}, {backend_name(cards[0])}" + (f" on {', '.join(hosts)}" if hosts else "")


def environment_line(environment: Environment) -> str:
    """Return the environment of a measurement in one line: device, backend, driver, CUDA, threads, host and commit."""
    parts = [device_name(environment), backend_name(environment)]
    parts += [f"driver {environment.driver}"] if environment.driver else []
    parts += [f"CUDA {environment.cuda}"] if environment.cuda else []
    parts += [f"{environment.threads} threads"] if environment.kind == "cpu" and environment.threads else []
    parts += [f"host {environment.host_name}"] if environment.host_name else []
    parts += [f"commit {_abbreviate(environment.commit)}"] if environment.commit else []
    return ", ".join(parts)


def _abbreviate(commit: str) -> str:
    """Return the first digits of a commit, with the `+` that marks uncommitted changes."""
    return commit[:10] + ("+" if commit.endswith("+") else "")
