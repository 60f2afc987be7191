"""Test the page of `pytest-trt explore --html`."""

from __future__ import annotations

import base64
import hashlib
import re

from samples.browser import EVIL

from pytest_trt.core.engine_map import Operation
from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.report.html import engine_page, graph
from pytest_trt.trial.exploration import compare_engines, map_engine

HOSTILE = "<script>x</script>\"'&\u202e{{ 7 * 7 }}"
OLD = LayerProfile((Layer("a" + HOSTILE, 3.0, HOSTILE, HOSTILE, "fp16", HOSTILE, ("a",)), Layer("b", 1.0, "Pool")))
NEW = LayerProfile((Layer("a", 2.0, "Conv", "k", "float32", "", ("a",)), Layer("b", 1.0, "Pool")))


def test_nothing_in_the_page_runs():
    page = engine_page.render([map_engine(HOSTILE, OLD, [HOSTILE])])
    assert not re.search(r"<img|\son\w+=|https?://", page)
    assert "\u202e" not in page
    assert "{{ 7 * 7 }}" in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    assert policy is not None
    assert (
        policy[1]
        .replace("&#39;", "'")
        .startswith("default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}';".format(*hashes))
    )


def test_the_strip_is_as_wide_as_the_times_and_coloured_by_precision():
    page = engine_page.render([map_engine("e", OLD)])
    assert re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)" height="40">', page) == [
        ("fp16", "0.000", "750.000"), ("other", "750.000", "250.000")
    ]  # fmt: skip
    untimed = engine_page.render([map_engine("e", LayerProfile((Layer("a"), Layer("b"))))])
    assert 'x="500.000" width="500.000"' in untimed
    assert engine_page.render([map_engine("e", LayerProfile(()))])


def test_layers_without_tensors_have_no_graph_and_a_reason(monkeypatch):
    assert "It is not reported which layer reads which tensor" in engine_page.render([map_engine("e", OLD)])
    monkeypatch.setattr(graph, "MOST_LAYERS", 1)
    assert "More than 1 layers are not drawn" in engine_page.render([map_engine("e", OLD)])


def test_graph_leads_to_the_table_which_sorts(tmp_path, watched):
    nodes = [Operation("a", ("x",), ("t" + EVIL,)), Operation("b", ("t" + EVIL,), ("y",))]
    profile = LayerProfile((Layer("a", 3.0, EVIL, EVIL, "fp16", EVIL), Layer("b", 1.0, "Pool", "kernel")))
    (tmp_path / "e.html").write_text(engine_page.render([map_engine(EVIL, profile, [EVIL], nodes)]))
    page = watched.page(viewport={"width": 390, "height": 844})
    page.goto((tmp_path / "e.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator(".graph path").wait_for(state="attached")
    page.get_by_role("button", name="larger").click()
    page.locator(".graph a").nth(1).click()
    assert page.evaluate("document.querySelector('tr:target th').textContent") == "b"
    table = page.locator("table", has=page.locator("#e0l0"))
    assert table.locator("tbody th").all_text_contents() == ["a", "b"]
    table.locator("thead th", has_text="ms").locator("button").click()
    assert table.locator("tbody th").all_text_contents() == ["b", "a"]
    page.fill("#search", "kernel")
    assert table.locator("tbody tr:visible").count() == 1
    page.locator(".graph a").first.click()
    assert page.locator("#e0l0").is_visible()


def test_long_types_are_cut_visibly_in_the_graph():
    nodes = [Operation("a", (), ("t",)), Operation("b", ("t",), ())]
    layers = LayerProfile((Layer("a", 1.0, "LayerNormalization"), Layer("b", 1.0, "SimplifiedLayerNormalization")))
    page = engine_page.render([map_engine("e", layers, [], nodes)])
    assert [about.split()[0] for about in re.findall(r'class="about"[^>]*>([^<]*)', page)] == [
        "LayerNormalization",
        "SimplifiedLayerNorm…",
    ]


def test_two_engines_are_side_by_side(monkeypatch):
    page = engine_page.render([map_engine("e", OLD), map_engine("f", NEW)], compare_engines(OLD, NEW))
    assert '<rect class="first" width="100.00"' in page
    assert '<rect class="second" width="66.67"' in page
    assert "-1.0000" in page
    assert "other precision: fp16 to float32" in page
    monkeypatch.setattr(engine_page, "MOST_ROWS", 1)
    assert "and 1 more: --json has all" in engine_page.render([map_engine("e", OLD)])
