"""Test how the layers of an engine are shown."""

from __future__ import annotations

from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.report import engine_map
from pytest_trt.report.engine_map import render
from pytest_trt.trial.exploration import compare_engines, map_engine

HOSTILE = "a\x1b[2J\n::error::b\u202e"


def profile(ms: float | None) -> LayerProfile:
    names = ["conv" * 40, HOSTILE]
    return LayerProfile(tuple(Layer(name, ms, HOSTILE, HOSTILE, "fp16", HOSTILE, (name,)) for name in names))


def test_names_are_whole_and_nothing_in_them_is_interpreted():
    text = render([map_engine(HOSTILE, profile(0.5), [HOSTILE])], width=100, colour=False)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "conv" * 40 in "".join(text.split())
    assert not {"\x1b", "\u202e"} & set(text)
    assert not any(line.lstrip().startswith("::error") for line in text.splitlines())
    assert "2 layers, 1.000 ms" in text
    assert "precisions in order: 2 fp16" in text


def test_two_engines_are_side_by_side():
    old, new = profile(0.5), profile(None)
    text = render([map_engine("a", old), map_engine("b", new)], compare_engines(old, new), colour=False)
    assert "a: 2 layers, 1.000 ms\n" in text
    assert "b: 2 layers, not timed\n" in text
    assert "-0.5000" in text
    assert "\x1b" not in text
    assert render([map_engine("é", new)], colour=False, encoding="ascii").isascii()


def test_long_tables_end_with_what_has_the_rest(monkeypatch):
    monkeypatch.setattr(engine_map, "_MOST_ROWS", 1)
    assert "and 1 more: --json has all\n" in render([map_engine("a", profile(0.5))], colour=False)
    pairs = compare_engines(profile(0.5), profile(1.0))
    assert "and 1 more: --json has all\n" in render([map_engine("a", profile(0.5))] * 2, pairs, colour=False)
