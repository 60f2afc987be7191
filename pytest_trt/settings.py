"""Options and the ini file, parsed once into one frozen Settings. The command line wins over the ini file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pytest_trt.errors import DeclarationError
from pytest_trt.records import STATUSES
from pytest_trt.spec import Settings, parse_share

REPORT_FORMATS = ("html", "md", "json", "benchmark-json")
STRICT = frozenset(("missing", "inconclusive", "unenforced"))


def _text(value: str, flag: str) -> str:
    if not value.strip():
        raise DeclarationError(f"{flag} is empty: give it a value")
    return value


def _choice(*choices: str) -> Callable[[str, str], str]:
    def parse(value: str, flag: str) -> str:
        if value not in choices:
            raise DeclarationError(f"{flag} is {value!r}: {_nearest(value, choices)}")
        return value

    return parse


def _nearest(value: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(value, choices, 1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(choices)}"


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
    number, unit = value.strip(), 1
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


@dataclasses.dataclass(frozen=True)
class Option:
    """One option. Without a `parse` it is a flag; with `field` "" it feeds something else than a Settings field."""

    flag: str
    field: str
    help: str
    parse: Callable[[str, str], Any] | None = None
    metavar: str = ""
    several: bool = False

    @property
    def name(self) -> str:
        """The ini file's name, and argparse's destination."""
        return self.flag.removeprefix("--").replace("-", "_")


OPTIONS = (
    Option("--trt-backend", "backend", "what runs the engines (auto: TensorRT where a GPU and TensorRT are, else ONNX "
           "Runtime on the CPU)", _choice("auto", "tensorrt", "tensorrt_rtx", "tensorrt_lean", "onnxruntime"),
           "auto|tensorrt|tensorrt_rtx|tensorrt_lean|onnxruntime"),
    Option("--trt-device", "device", "which GPU, by number or UUID (0)", _text, "N|UUID"),
    Option("--trt-require-device", "require_device", "words of the device's name; on any other device nothing runs and "
           "pytest exits with 4", _text, "WORDS"),
    Option("--trt-compute-capability", "compute_capabilities", "what an ahead-of-time TensorRT-RTX build is for",
           _capabilities, "89,120"),
    Option("--trt-baseline-save", "baseline_save", "store what the tests cost now as the baseline"),
    Option("--trt-baseline-force", "baseline_force", "store also tests whose verdict fails"),
    Option("--trt-baseline-new-only", "baseline_new_only", "store only tests that have no baseline yet"),
    Option("--trt-baseline", "baseline", "the baseline to compare with or to save to (main); off: none", _baseline,
           "NAME|off"),
    Option("--trt-baseline-dir", "baseline_dir", "where baselines are kept: a folder or an fsspec URL "
           "(.trt-baselines)", _text, "PATH|URL"),
    Option("--trt-baseline-ref", "baseline_ref", "read the baselines as they stand at this git revision", _text, "REV"),
    Option("--trt-fail-on", "fail_on", "further verdicts that fail a test, such as missing,inconclusive", _statuses,
           "LIST"),
    Option("--trt-strict", "", f"the same as --trt-fail-on={','.join(sorted(STRICT))}"),
    Option("--trt-max-slowdown", "max_slowdown", "how much slower than its baseline a test may be (5%%)", _share, "P"),
    Option("--trt-max-memory-growth", "max_memory_growth", "how much more memory than in its baseline a test may use "
           "(5%%)", _share, "P"),
    Option("--trt-resolution", "resolution", "stop measuring at this half-width of the interval (0.5%%)", _share, "P"),
    Option("--trt-max-time", "max_time_s", "stop measuring a test after this many seconds (10)", _seconds, "S"),
    Option("--trt-min-time", "min_time_s", "measure a test for at least this many seconds (0.1)", _seconds, "S"),
    Option("--trt-wait", "wait_s", "how long to wait for a GPU that another process keeps busy (60)", _seconds, "S"),
    Option("--trt-cache-dir", "cache_dir", "where built engines are kept (the user's cache folder)", _text, "PATH"),
    Option("--trt-cache-size", "cache_bytes", "how large the engine cache may grow (20GB)", _bytes, "SIZE"),
    Option("--trt-no-cache", "no_cache", "build every engine anew and keep none"),
    Option("--trt-builds", "builds", "build each engine this many times, to measure the build lottery (1)", _count,
           "K"),
    Option("--trt-build-only", "build_only", "build what each test's markers need and run no test body"),
    Option("--trt-report", "reports", "write a report: html, md, json or benchmark-json, a colon and a path; may stand "
           "more than once", _report, "FORMAT:PATH", several=True),
    Option("--trt-only", "only", "run only the tests of this plugin"),
    Option("--trt-skip", "skip", "run none of the tests of this plugin"),
    Option("--trt-disable", "disabled", "run the tests' bodies once, unmeasured"),
)  # fmt: skip


def add_options(parser: pytest.Parser) -> None:
    """Every option, and its ini setting of the same name with underscores."""
    group = parser.getgroup("trt", "TensorRT performance regression (pytest-trt)")
    for option in OPTIONS:
        ini_help = f"default of {option.flag}"
        if option.parse is None:
            group.addoption(option.flag, action="store_true", default=None, help=option.help)
            parser.addini(option.name, ini_help, type="bool", default=None)
        else:
            action = "append" if option.several else "store"
            group.addoption(option.flag, action=action, default=None, metavar=option.metavar, help=option.help)
            if option.several:
                parser.addini(option.name, ini_help, type="linelist", default=None)
            else:
                parser.addini(option.name, ini_help, type="string", default=None)


def parse(config: pytest.Config) -> Settings:
    """The settings. Raises pytest.UsageError with everything that is wrong, each with its flag and value."""
    values: dict[str, Any] = {"rootdir": str(config.rootpath)}
    problems = []
    strict = False
    for option in OPTIONS:
        given = config.getoption(option.name)
        source = option.flag
        if given is None:
            given, source = config.getini(option.name), f"ini setting {option.name}"
        if given is None or given in ("", []):
            continue
        try:
            value = _parsed(option, given, source)
        except DeclarationError as error:
            problems.append(str(error))
            continue
        if option.field:
            values[option.field] = value
        else:
            strict = bool(value)
    if problems:
        raise pytest.UsageError("\n".join(problems))
    if strict:
        values["fail_on"] = values.get("fail_on", frozenset()) | STRICT
    settings = Settings(**values)
    _check_together(settings)
    return settings


def _parsed(option: Option, given: Any, source: str) -> Any:
    if option.parse is None:
        return bool(given)
    if option.several:
        return tuple(option.parse(item, source) for item in given)
    return option.parse(str(given), source)


def _check_together(settings: Settings) -> None:
    """Raise pytest.UsageError for options that contradict each other."""
    clashes = [
        (settings.baseline_save and settings.baseline is None, "--trt-baseline-save and --trt-baseline=off"),
        (settings.baseline_save and settings.disabled, "--trt-baseline-save and --trt-disable (it measures nothing)"),
        (settings.baseline_save and settings.build_only, "--trt-baseline-save and --trt-build-only"),
        (settings.baseline_save and settings.baseline_ref, "--trt-baseline-save and --trt-baseline-ref"),
        (settings.only and settings.skip, "--trt-only and --trt-skip"),
        (settings.min_time_s > settings.max_time_s, "--trt-min-time above --trt-max-time"),
        (settings.build_only and settings.no_cache, "--trt-build-only and --trt-no-cache (nothing would be kept)"),
    ]
    found = [text for clash, text in clashes if clash]
    if found:
        raise pytest.UsageError("; ".join(f"{text} contradict each other" for text in found) + ": drop one of the two")
    for flag, on in (("force", settings.baseline_force), ("new-only", settings.baseline_new_only)):
        if on and not settings.baseline_save:
            raise pytest.UsageError(f"--trt-baseline-{flag} says how to save: add --trt-baseline-save")
