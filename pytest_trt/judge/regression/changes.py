"""What is not as it was when a baseline was stored: the model, its options, the software, the machine."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from pytest_trt.core.records import Environment, Measurement
from pytest_trt.judge.baselines.baseline import Baseline


def describe_changes(
    baseline: Baseline,
    measurement: Measurement,
    now: datetime.datetime | None = None,
    *,
    since: str = "the baseline",
) -> tuple[str, ...]:
    """What is not as it was when the baseline was stored, and what is; one line, or none where nothing can be told."""
    then, here = baseline.environment, measurement.environment
    named = {"backend": "backend", "driver": "driver", "CUDA": "cuda", "device": "device", "host CPU": "host_cpu",
             "threads": "threads", "OS": "os", "way of measuring": "measurement"}  # fmt: skip
    old, new = _facts(then), _facts(here)
    moved = [f"{name} ({_or_none(old[name])} to {_or_none(new[name])})" for name in named if old[name] != new[name]]
    same = [name for name in ("backend", "driver", "device") if old[name] == new[name]]
    moved = [*_engine_changes(baseline, measurement), *moved]
    when = f"{baseline.commit or 'no commit'}, {age(baseline.time, now)}"
    kept = f"; {_listed(same)} {'is' if len(same) == 1 else 'are'} the same" if same else ""
    return (f"changed since {since} ({when}): {_listed(moved) or 'nothing that is recorded'}{kept}",)


def _facts(environment: Environment) -> dict[str, str | int | None]:
    return {
        "backend": f"{environment.backend} {environment.backend_version}",
        "driver": environment.driver,
        "CUDA": environment.cuda,
        "device": f"{environment.device} {environment.mig_profile or ''}".strip(),
        "host CPU": environment.host_cpu,
        "threads": environment.threads,
        "OS": environment.os,
        "way of measuring": environment.measurement,
    }


def _engine_changes(baseline: Baseline, measurement: Measurement) -> Iterator[str]:
    """What is another about the engine and how it is run. An engine's digest covers the model, the options, backend and
    device."""
    then, now = baseline.spec, measurement.spec
    options = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    yield from (f"{name} ({_or_none(then.get(name))} to {_or_none(now.get(name))})" for name in options)
    if baseline.plan_sha256 == measurement.plan_sha256:
        return
    backends = [(e.backend, e.backend_version) for e in (baseline.environment, measurement.environment)]
    if baseline.engine_digest == measurement.engine_digest:
        yield "the build alone (the same model and options)"
    elif set(options) <= {"inputs"} and backends[0] == backends[1]:  # what is run alone makes no other engine
        yield "the model"


def _or_none(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _listed(words: list[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)


def age(time: str, now: datetime.datetime | None = None) -> str:
    """How long ago an ISO 8601 time was, for a person."""
    try:
        then = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
    except ValueError:
        return time
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.timezone.utc)
    days = ((now or datetime.datetime.now(datetime.timezone.utc)) - then).days
    return "today" if days <= 0 else "yesterday" if days == 1 else f"{days} days ago"
