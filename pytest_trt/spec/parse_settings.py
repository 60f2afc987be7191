"""What options and the ini file say, parsed once into one frozen Settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from pytest_trt.core.backends import BackendName
from pytest_trt.core.records import STATUSES
from pytest_trt.core.report_formats import REPORT_FORMATS
from pytest_trt.core.validation import parse_share, suggest
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.options import Option
from pytest_trt.spec.settings import STRICT, Settings


def _text(value: str, flag: str) -> str:
    if not value.strip():
        raise DeclarationError(f"{flag} is empty: give it a value")
    return value


def _device(value: str, flag: str) -> str:
    if not (value.isdecimal() or value.upper().startswith(("GPU-", "MIG-"))):
        raise DeclarationError(f"{flag} is {value!r}: give a GPU's number, or its UUID as nvidia-smi -L shows it")
    return value


def _choice(*choices: str) -> Callable[[str, str], str]:
    def parse(value: str, flag: str) -> str:
        if value not in choices:
            raise DeclarationError(f"{flag} is {value!r}: {_nearest(value, choices)}")
        return value

    return parse


def _nearest(value: str, choices: Sequence[str]) -> str:
    return suggest(value, choices, f"choose from {', '.join(choices)}")


def _share(value: str, flag: str) -> float:
    share = parse_share(value, flag)
    assert share is not None
    return share


def _seconds(value: str, flag: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise DeclarationError(f"{flag} is {value!r}: give seconds, such as 10 or 0.5")
    return seconds


def _count(value: str, flag: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 100:
        raise DeclarationError(f"{flag} is {value!r}: give a whole number from 1 to 100")
    return int(value)


def _bytes(value: str, flag: str) -> int:
    number, unit = value.strip(), 0  # a bare 20 means 20 GB to its writer, and would empty the cache as 20 bytes
    for suffix, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("B", 1)):
        if number.lower().endswith(suffix.lower()):
            number, unit = number[: -len(suffix)].strip(), factor
            break
    try:
        size = float(number) * unit
    except ValueError:
        size = -1.0
    if not 0 < size < 1e18:
        raise DeclarationError(f"{flag} is {value!r}: give a size such as 20GB or 500MB")
    return int(size)


def _capabilities(value: str, flag: str) -> tuple[int, ...]:
    parts = [part.strip().replace(".", "") for part in value.split(",")]
    if not all(part.isdecimal() and 50 <= int(part) <= 999 for part in parts):
        raise DeclarationError(f"{flag} is {value!r}: give compute capabilities such as 89 or 89,120")
    return tuple(map(int, parts))


def _statuses(value: str, flag: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    if not names:  # an unset variable in a CI's file would open the gate
        raise DeclarationError(f"{flag} is {value!r}: name verdicts, such as missing,inconclusive, or leave it out")
    for name in sorted(names - set(STATUSES)):
        raise DeclarationError(f"{flag} names {name!r}, which is no verdict: {_nearest(name, STATUSES)}")
    if "ok" in names:
        raise DeclarationError(f"{flag} names 'ok', which cannot fail: leave it out")
    return names


def _baseline(value: str, flag: str) -> str | None:
    name = _text(value, flag)
    if name == "off":
        return None
    if name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name):
        raise DeclarationError(f"{flag} is {value!r}: a baseline's name has letters, digits, '.', '_' and '-' alone")
    return name


def _report(value: str, flag: str) -> tuple[str, str]:
    form, colon, path = value.partition(":")
    if not colon or not path or form not in REPORT_FORMATS:
        formats = "|".join(REPORT_FORMATS)
        raise DeclarationError(f"{flag} is {value!r}: write {formats}, a colon and a path, such as html:trt.html")
    return form, path


_PARSERS: Mapping[str, Callable[[str, str], Any]] = {
    "backend": _choice(*get_args(BackendName)),
    "device": _device,
    "require_device": _text,
    "compute_capabilities": _capabilities,
    "baseline": _baseline,
    "baseline_dir": _text,
    "baseline_ref": _text,
    "against": _text,
    "budgets": _text,
    "fail_on": _statuses,
    "max_slowdown": _share,
    "max_memory_growth": _share,
    "resolution": _share,
    "max_time_s": _seconds,
    "min_time_s": _seconds,
    "wait_s": _seconds,
    "cache_dir": _text,
    "cache_bytes": _bytes,
    "builds": _count,
    "reports": _report,
}
"""What each field of an option with a value is read by, from the text and the name of where it stands."""


def parse(given: Mapping[Option, tuple[Any, str]], rootdir: str) -> Settings:
    """The settings. Raises DeclarationError with everything that is wrong, each with its flag and value."""
    values: dict[str, Any] = {"rootdir": rootdir}
    problems = []
    for option, (value, source) in given.items():
        try:
            values[option.field] = _parsed(option, value, source)
        except DeclarationError as error:
            problems.append(str(error))
    if problems:
        raise DeclarationError("\n".join(problems))
    if values.pop("strict", False):
        values["fail_on"] = values.get("fail_on", frozenset()) | STRICT
    if "min_time_s" not in values:  # a shorter time than the default of the least is meant
        values["min_time_s"] = min(Settings.min_time_s, values.get("max_time_s", Settings.max_time_s))
    settings = Settings(**values)
    _check_together(settings)
    return settings


def _parsed(option: Option, value: Any, source: str) -> Any:
    if not option.metavar:
        return bool(value)
    parse = _PARSERS[option.field]
    return tuple(parse(item, source) for item in value) if option.repeatable else parse(str(value), source)


def _check_together(settings: Settings) -> None:
    """Raise DeclarationError for options that contradict each other."""
    clashes = [
        (settings.baseline_save and settings.baseline is None, "--trt-baseline-save and --trt-baseline=off"),
        (settings.baseline_save and settings.disabled, "--trt-baseline-save and --trt-disable (it measures nothing)"),
        (settings.baseline_save and settings.build_only, "--trt-baseline-save and --trt-build-only"),
        (settings.baseline_save and settings.baseline_ref, "--trt-baseline-save and --trt-baseline-ref"),
        (settings.baseline_save and settings.against, "--trt-baseline-save and --trt-against"),
        (settings.baseline_ref and settings.against, "--trt-baseline-ref and --trt-against"),
        (settings.only and settings.skip, "--trt-only and --trt-skip"),
        (settings.build_only and settings.no_cache, "--trt-build-only and --trt-no-cache (nothing would be kept)"),
    ]
    found = [text for clash, text in clashes if clash]
    if found:
        raise DeclarationError("; ".join(f"{text} contradict each other" for text in found) + ": drop one of the two")
    least, most = settings.min_time_s, settings.max_time_s
    if least > most:
        message = f"--trt-min-time is {least:g} s, and --trt-max-time {most:g} s: lower the one, or raise the other"
        raise DeclarationError(message)
    for flag, on in (("force", settings.baseline_force), ("new-only", settings.baseline_new_only)):
        if on and not settings.baseline_save:
            raise DeclarationError(f"--trt-baseline-{flag} says how to save: add --trt-baseline-save")
