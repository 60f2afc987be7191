"""Test the page of `pytest-trt explore --html`."""

from __future__ import annotations

import base64
import hashlib
import re

from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.report.html import engine_page
from pytest_trt.trial.exploration import compare_engines, map_engine

HOSTILE = "<script>x</script>\"'&\u202e{{ 7 * 7 }}"
OLD = LayerProfile((Layer("a" + HOSTILE, 3.0, HOSTILE, HOSTILE, "fp16", HOSTILE, ("a",)), Layer("b", 1.0, "Pool")))
NEW = LayerProfile((Layer("a", 2.0, "Conv", "k", "float32", "", ("a",)), Layer("b", 1.0, "Pool")))


def test_nothing_in_the_page_runs():
    page = engine_page.render([map_engine(HOSTILE, OLD, [HOSTILE])])
    assert not re.search(r"<script|<img|\son\w+=|https?://", page)
    assert "\u202e" not in page
    assert "{{ 7 * 7 }}" in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy is not None
    assert policy[1].replace("&#39;", "'").startswith(f"default-src 'none'; style-src 'sha256-{digest}';")


def test_the_strip_is_as_wide_as_the_times_and_coloured_by_precision():
    page = engine_page.render([map_engine("e", OLD)])
    assert re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)" height="40">', page) == [
        ("fp16", "0.000", "750.000"), ("other", "750.000", "250.000")
    ]  # fmt: skip
    untimed = engine_page.render([map_engine("e", LayerProfile((Layer("a"), Layer("b"))))])
    assert 'x="500.000" width="500.000"' in untimed
    assert engine_page.render([map_engine("e", LayerProfile(()))])


def test_two_engines_are_side_by_side(monkeypatch):
    page = engine_page.render([map_engine("e", OLD), map_engine("f", NEW)], compare_engines(OLD, NEW))
    assert '<rect class="first" width="100.00"' in page
    assert '<rect class="second" width="66.67"' in page
    assert "-1.0000" in page
    assert "other precision: fp16 to float32" in page
    monkeypatch.setattr(engine_page, "MOST_ROWS", 1)
    assert "and 1 more: --json has all" in engine_page.render([map_engine("e", OLD)])
