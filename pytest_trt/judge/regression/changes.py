"""Describe what changed since a baseline was stored: the model, its options, the software, the machine."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping

from pytest_trt.core.records import Environment, Measurement
from pytest_trt.judge.baselines.baseline import Baseline


def describe_changes(
    baseline: Baseline,
    measurement: Measurement,
    now: datetime.datetime | None = None,
    *,
    since: str = "the baseline",
) -> tuple[str, ...]:
    """Describe in one line the changes since the baseline was stored, and what is still the same.

    Args:
        baseline: The baseline.
        measurement: The measurement that is compared with it.
        now: The current time; None for the clock's.
        since: What the line calls the baseline.
    """
    old, new = _facts(baseline.environment), _facts(measurement.environment)
    changed = [f"{name} ({_or_none(old[name])} to {_or_none(new[name])})" for name in old if old[name] != new[name]]
    same = [name for name in ("backend", "driver", "device") if old[name] == new[name]]
    changed = [*_engine_changes(baseline, measurement), *changed]
    when = f"{baseline.commit or 'no commit'}, {age(baseline.time, now)}"
    unchanged = f"; {_listed(same)} {'is' if len(same) == 1 else 'are'} the same" if same else ""
    return (f"changed since {since} ({when}): {_listed(changed) or 'nothing that is recorded'}{unchanged}",)


def _facts(environment: Environment) -> dict[str, str | int | None]:
    """Return the facts of an environment that are compared, by the names that the line shows."""
    return {
        "backend": f"{environment.backend} {environment.backend_version}",
        "driver": environment.driver,
        "CUDA": environment.cuda,
        "device": f"{environment.device} {environment.mig_profile or ''}".strip(),
        "host CPU": environment.host_cpu,
        "threads": environment.threads,
        "OS": environment.os,
        "measurement method": environment.measurement,
    }


def _engine_changes(baseline: Baseline, measurement: Measurement) -> Iterator[str]:
    """Yield what changed about the engine and how it is run.

    The digest of an engine covers the model, the options, the backend and the device.
    """
    yield from spec_changes(baseline.spec, measurement.spec)
    if (baseline.plan_sha256, baseline.engine_digest) == (measurement.plan_sha256, measurement.engine_digest):
        return
    backends = [(e.backend, e.backend_version) for e in (baseline.environment, measurement.environment)]
    if baseline.engine_digest == measurement.engine_digest:
        yield "the build alone (the same model and options)"
    elif (
        _changed_options(baseline.spec, measurement.spec) <= {"inputs"} and backends[0] == backends[1]
    ):  # other inputs do not make another engine
        yield "the model"


def spec_changes(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Describe the options that differ between two specs, each with both values."""
    return tuple(
        f"{name} ({_or_none(then.get(name))} to {_or_none(now.get(name))})"
        for name in sorted(_changed_options(then, now))
    )


def _changed_options(then: Mapping[str, str], now: Mapping[str, str]) -> set[str]:
    return {name for name in {*then, *now} if then.get(name) != now.get(name)}


def _or_none(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _listed(words: list[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)


def age(time: str, now: datetime.datetime | None = None) -> str:
    """Return how long ago a time was, as text such as `3 days ago`.

    Args:
        time: An ISO 8601 time, in UTC if it has no zone. Any other text is returned as it is.
        now: The current time; None for the clock's.
    """
    try:
        then = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
    except ValueError:
        return time
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.timezone.utc)
    days = ((now or datetime.datetime.now(datetime.timezone.utc)) - then).days
    return "today" if days <= 0 else "yesterday" if days == 1 else f"{days} days ago"
