"""Parse the values of the command line and the ini file into Settings."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from pytest_trt.core.backends import BackendName
from pytest_trt.core.location import Location
from pytest_trt.core.records import STATUSES
from pytest_trt.core.report_formats import REPORT_FORMATS
from pytest_trt.core.validation import parse_share, suggest
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.gates import parse_gate
from pytest_trt.spec.hosts import NO_HOSTS, parse_host
from pytest_trt.spec.options import Option
from pytest_trt.spec.settings import STRICT, Settings


def parse_settings(options: Mapping[Option, tuple[Any, str]], rootdir: str) -> Settings:
    """Return the settings of a run.

    Args:
        options: The value of every option that is set, with the flag or ini setting that it comes from.
        rootdir: The path of pytest's rootdir.

    Raises:
        DeclarationError: A value is invalid, or options contradict each other. The message lists all invalid values.
    """
    values: dict[str, Any] = {"rootdir": rootdir}
    problems = []
    for option, (value, source) in options.items():
        try:
            values[option.field] = _parse_option(option, value, source)
        except DeclarationError as error:
            problems.append(str(error))
    if problems:
        raise DeclarationError(*problems)
    if values.pop("strict", False):
        values["fail_on"] = values.get("fail_on", frozenset()) | STRICT
    if "min_time_s" not in values:  # The default must not exceed a shorter --trt-max-time.
        values["min_time_s"] = min(Settings.min_time_s, values.get("max_time_s", Settings.max_time_s))
    settings = Settings(**values)
    names = [host.name for host in settings.hosts]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise DeclarationError(f"--trt-host names {repeated[0]} {names.count(repeated[0])} times: name it once")
    _check_combinations(settings)
    return settings


def _parse_option(option: Option, value: Any, source: str) -> Any:
    if not option.metavar:
        return bool(value)
    parser = _PARSERS[option.field]
    if not option.repeatable:
        return parser(str(value), source)
    if option.field == "hosts" and [str(item).strip() for item in value] == [NO_HOSTS]:
        return ()
    parsed = tuple(parser(item, source) for item in value)
    keys = [item[0] for item in parsed] if option.keyed else []
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise DeclarationError(f"{source} has several values for {repeated[0]}: keep one of them")
    return parsed


def _check_combinations(settings: Settings) -> None:
    """Raise DeclarationError if options contradict each other."""
    clashes = [
        (settings.baseline_save and settings.baseline is None, "--trt-baseline-save and --trt-baseline=off"),
        (settings.baseline_save and settings.disabled, "--trt-baseline-save and --trt-disable (it measures nothing)"),
        (settings.baseline_save and settings.build_only, "--trt-baseline-save and --trt-build-only"),
        (settings.baseline_save and settings.baseline_ref, "--trt-baseline-save and --trt-baseline-ref"),
        (settings.baseline_save and settings.against, "--trt-baseline-save and --trt-against"),
        (settings.baseline_ref and settings.against, "--trt-baseline-ref and --trt-against"),
        (settings.only and settings.skip, "--trt-only and --trt-skip"),
        (settings.build_only and settings.no_cache, "--trt-build-only and --trt-no-cache (nothing would be kept)"),
        (settings.prebuild and settings.no_cache, "--trt-prebuild and --trt-no-cache (nothing would be kept)"),
    ]
    found = [text for clash, text in clashes if clash]
    if found:
        raise DeclarationError("; ".join(f"{text} contradict each other" for text in found) + ": remove one of them")
    if settings.min_time_s > settings.max_time_s:
        raise DeclarationError(
            f"--trt-min-time is {settings.min_time_s:g} s, more than --trt-max-time, which is {settings.max_time_s:g} s"
            ": lower the first, or raise the second"
        )
    for flag, on in (("force", settings.baseline_force), ("new-only", settings.baseline_new_only)):
        if on and not settings.baseline_save:
            raise DeclarationError(f"--trt-baseline-{flag} has no effect without --trt-baseline-save: add it")


def _parse_text(value: str, flag: str) -> str:
    if not value.strip():
        raise DeclarationError(f"{flag} is empty: give it a value")
    return value


def _parse_location(value: str, flag: str) -> Location:
    protocol = re.match(r"([A-Za-z][A-Za-z0-9+.-]+:)/(?!/)", value)
    if protocol is not None:  # The value is not shown: it may contain credentials.
        raise DeclarationError(
            f"{flag} starts with '{protocol[1]}/': write '{protocol[1]}//' if it is a URL, or put './' before a folder "
            "of that name"
        )
    return Location(_parse_text(value, flag).strip())


def _parse_device(value: str, flag: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in value.split(","))
    for part in parts:
        if not re.search("[A-Za-z0-9]", part) or re.fullmatch(r"-\d+|\d+-\d*", part):
            raise DeclarationError(
                f"{flag} is {value!r}: give 'all', or a list of numbers such as 0,1, of UUIDs as nvidia-smi -L shows "
                "them, and of words of a GPU's name such as H200"
            )
    return parts


def _choice_parser(*choices: str) -> Callable[[str, str], str]:
    def parse(value: str, flag: str) -> str:
        if value not in choices:
            raise DeclarationError(f"{flag} is {value!r}: {_suggest_choice(value, choices)}")
        return value

    return parse


def _suggest_choice(value: str, choices: Sequence[str]) -> str:
    return suggest(value, choices, f"choose from {', '.join(choices)}")


def _parse_share(value: str, flag: str) -> float:
    share = parse_share(value, flag)
    assert share is not None
    return share


def _parse_seconds(value: str, flag: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise DeclarationError(f"{flag} is {value!r}: give a number of seconds, such as 10 or 0.5")
    return seconds


def _parse_count(value: str, flag: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 100:
        raise DeclarationError(f"{flag} is {value!r}: give a whole number from 1 to 100")
    return int(value)


def _parse_bytes(value: str, flag: str) -> int:
    # A unit is required: whoever writes 20 means 20 GB, and a limit of 20 bytes would empty the cache.
    number, unit = value.strip(), 0
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


def _parse_capabilities(value: str, flag: str) -> tuple[int, ...]:
    parts = [part.strip().replace(".", "") for part in value.split(",")]
    if not all(part.isdecimal() and 50 <= int(part) <= 999 for part in parts):
        raise DeclarationError(f"{flag} is {value!r}: give compute capabilities such as 89 or 89,120")
    return tuple(map(int, parts))


def _parse_statuses(value: str, flag: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    if not names:  # An unset variable in a CI script must not disable the check.
        raise DeclarationError(f"{flag} is {value!r}: name verdicts, such as missing,inconclusive, or remove it")
    for name in sorted(names - set(STATUSES)):
        raise DeclarationError(f"{flag} names {name!r}, which is not a verdict: {_suggest_choice(name, STATUSES)}")
    if "ok" in names:
        raise DeclarationError(f"{flag} names 'ok', which never fails: remove it")
    return names


def _parse_baseline(value: str, flag: str) -> str | None:
    name = _parse_text(value, flag)
    if name == "off":
        return None
    if name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name):
        raise DeclarationError(
            f"{flag} is {value!r}: use only letters, digits, '.', '_' and '-' in the name of a baseline, and do not "
            "start it with '.'"
        )
    return name


def _parse_report(value: str, flag: str) -> tuple[str, str]:
    form, colon, path = value.partition(":")
    if not colon or not path or form not in REPORT_FORMATS:
        formats = "|".join(REPORT_FORMATS)
        raise DeclarationError(
            f"{flag} is {value!r}: give a format ({formats}), a colon and a path, such as html:trt.html"
        )
    absent = [name for name in REPORT_FORMATS[form].libraries if importlib.util.find_spec(name) is None]
    if absent:
        raise DeclarationError(
            f"{flag} is {value!r}, which needs {', '.join(absent)}: pip install 'pytest-trt[report]'"
        )
    return form, path


def _parse_gate(value: str, flag: str) -> tuple[str, float | None]:
    figure, equals, tolerance = (part.strip() for part in value.partition("="))
    if not (figure and equals and tolerance):
        raise DeclarationError(
            f"{flag} is {value!r}: give a figure and a share, such as engine_mb=10% or engine_mb=off"
        )
    return figure, parse_gate(figure, tolerance, f"{flag}: {figure}")


_PARSERS: Mapping[str, Callable[[str, str], Any]] = {
    "backend": _choice_parser(*get_args(BackendName)),
    "device": _parse_device,
    "hosts": parse_host,
    "require_device": _parse_text,
    "compute_capabilities": _parse_capabilities,
    "baseline": _parse_baseline,
    "baseline_dir": _parse_location,
    "baseline_ref": _parse_text,
    "against": _parse_text,
    "budgets": _parse_text,
    "fail_on": _parse_statuses,
    "max_slowdown": _parse_share,
    "max_memory_growth": _parse_share,
    "gates": _parse_gate,
    "resolution": _parse_share,
    "max_time_s": _parse_seconds,
    "min_time_s": _parse_seconds,
    "wait_s": _parse_seconds,
    "lock_dir": _parse_text,
    "cache_dir": _parse_text,
    "cache_bytes": _parse_bytes,
    "builds": _parse_count,
    "reports": _parse_report,
}
"""The parser of each field of Settings whose option takes a value.

A parser takes the text, and the flag or ini setting that the text comes from, for error messages.
"""
