"""Parsing options and ini settings."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest

from pytest_trt.errors import DeclarationError
from pytest_trt.spec import parse_settings as settings
from pytest_trt.spec.options import OPTIONS
from pytest_trt.spec.settings import Settings

BY_FLAG = {option.flag: option for option in OPTIONS}


def parse(**options: object) -> Settings:
    """Return the settings for options, by name: `max_time="3"` is --trt-max-time=3."""
    given = {}
    for name, value in options.items():
        option = BY_FLAG["--trt-" + name.replace("_", "-")]
        given[option] = value, option.flag
    return settings.parse_settings(given, "/root")


def test_every_option_has_a_field_and_every_field_an_option():
    fields = {field.name for field in dataclasses.fields(Settings)} - {"rootdir"}
    assert {option.field for option in OPTIONS} - {"strict"} == fields
    assert len(BY_FLAG) == len(OPTIONS)


def test_settings_without_options_are_the_defaults():
    assert parse() == Settings(rootdir="/root")


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"backend": "tensorrt_rtx"}, "backend", "tensorrt_rtx"),
        ({"device": "gpu-1b2c"}, "device", ("gpu-1b2c",)),
        ({"device": "0, 1,H200 NVL"}, "device", ("0", "1", "H200 NVL")),
        ({"device": "all"}, "device", ("all",)),
        ({"compute_capability": "8.9, 120"}, "compute_capabilities", (89, 120)),
        ({"baseline": "off"}, "baseline", None),
        ({"baseline": "release-1.2_x"}, "baseline", "release-1.2_x"),
        ({"fail_on": " missing , new "}, "fail_on", {"missing", "new"}),
        ({"strict": True, "fail_on": "new"}, "fail_on", {"missing", "inconclusive", "unenforced", "new"}),
        ({"strict": False}, "fail_on", frozenset()),
        ({"max_slowdown": "3%"}, "max_slowdown", 0.03),
        ({"max_memory_growth": "0.5"}, "max_memory_growth", 0.5),
        ({"gate": ["engine_mb=10%", " host_mb = off "]}, "gates", (("engine_mb", 0.1), ("host_mb", None))),
        ({"max_time": "2.5"}, "max_time_s", 2.5),
        ({"cache_size": "1.5 GB"}, "cache_bytes", 1_500_000_000),
        ({"cache_size": "500kb"}, "cache_bytes", 500_000),
        ({"cache_size": "4096B"}, "cache_bytes", 4096),
        ({"builds": "3"}, "builds", 3),
        ({"report": ["html:a.html", "json:b:c.json"]}, "reports", (("html", "a.html"), ("json", "b:c.json"))),
        ({"disable": True}, "disabled", True),
    ],
)
def test_option_value_is_parsed(options, field, value):
    assert getattr(parse(**options), field) == value


def test_report_without_its_libraries_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "plotly" else name)
    message = r"'html:a.html', which needs plotly: pip install 'pytest-trt\[report\]'"
    with pytest.raises(DeclarationError, match=message):
        parse(report=["html:a.html"])
    assert parse(report=["md:a.md"]).reports == (("md", "a.md"),)


def test_default_minimum_time_follows_a_shorter_maximum():
    settings = parse(max_time="0.05")
    assert (settings.min_time_s, settings.max_time_s) == (0.05, 0.05)
    assert parse(max_time="20").min_time_s == 0.1
    with pytest.raises(DeclarationError, match=r"--trt-min-time is 0\.1 s, more than --trt-max-time, which is 0\.05 s"):
        parse(max_time="0.05", min_time="0.1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_capability": "sm89"}, "--trt-compute-capability is 'sm89': give compute capabilities such as 89"),
        ({"baseline": "../main"}, "--trt-baseline is '../main': use only letters, digits"),
        ({"baseline": ".hidden"}, "--trt-baseline is '.hidden'"),
        ({"baseline_dir": "  "}, "--trt-baseline-dir is empty"),
        ({"baseline_dir": "s3:/bucket/x"}, "--trt-baseline-dir starts with 's3:/': write 's3://' if it is a URL"),
        ({"fail_on": ""}, "--trt-fail-on is '': name verdicts"),
        ({"fail_on": " , "}, "--trt-fail-on is ' , ': name verdicts"),
        ({"cache_size": "0GB"}, "--trt-cache-size is '0GB': give a size such as 20GB"),
        ({"cache_size": "nan"}, "--trt-cache-size is 'nan'"),
        ({"cache_size": "20"}, "--trt-cache-size is '20': give a size such as 20GB"),
        ({"max_time": "inf"}, "--trt-max-time is 'inf': give a number of seconds"),
        ({"max_time": "nan"}, "--trt-max-time is 'nan': give a number of seconds"),
        ({"gate": ["engine_mb"]}, "--trt-gate is 'engine_mb': give a figure and a share, such as engine_mb=10%"),
        ({"gate": ["engine_mb="]}, "--trt-gate is 'engine_mb='"),
        ({"gate": ["engin_mb=5%"]}, "--trt-gate: engin_mb: there is no figure 'engin_mb': did you mean 'engine_mb'?"),
        ({"gate": ["engine_mb=5"]}, "--trt-gate: engine_mb is '5': did you mean '5%'?"),
        ({"gate": ["ms=5%"]}, "--trt-gate: ms is '5%': ms accepts only 'off'; its tolerance is set by max_slowdown"),
        ({"gate": ["load_s=5%", "load_s=6%"]}, "--trt-gate has several values for load_s: keep one of them"),
        ({"builds": "2.5"}, "--trt-builds is '2.5': give a whole number from 1 to 100"),
        ({"min_time": "11"}, "--trt-min-time is 11 s, more than --trt-max-time, which is 10 s: lower the first"),
        ({"baseline_new_only": True}, "--trt-baseline-new-only has no effect without --trt-baseline-save: add it"),
    ],
)
def test_invalid_option_is_rejected(options, message):
    with pytest.raises(DeclarationError) as raised:
        parse(**options)
    assert str(raised.value).startswith(message)


def test_all_invalid_options_are_reported_together():
    with pytest.raises(DeclarationError) as raised:
        parse(backend="cuda", builds="0", fail_on="regresed")
    assert len(str(raised.value).splitlines()) == 3
    assert "did you mean 'regressed'?" in str(raised.value)


def test_each_host_is_named_once():
    assert [host.name for host in parse(host=["ssh://a", "exec:b c"]).hosts] == ["a", "b c"]
    with pytest.raises(DeclarationError, match="--trt-host names a 2 times: name it once"):
        parse(host=["ssh://a", "ssh://ci@a"])
    assert parse(host=["ssh://a"], against="main").against == "main"
