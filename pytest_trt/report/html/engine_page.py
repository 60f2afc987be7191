"""Render the layers of an engine, or of two side by side, as one HTML file that needs no network.

Its scripts sort and search the tables, and change the size of the graph. The graph is an image whose layers link to
the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_trt.core.engine_map import Counterpart, EngineMap, LayerFacts, Share
from pytest_trt.core.foreign_text import escape
from pytest_trt.report.engine_map import format_mb, format_ms, format_percent, layers_line, reformats_line, share_cells
from pytest_trt.report.html import graph
from pytest_trt.report.html.parts import fill, hash_of, page_files

MOST_ROWS = 20_000
"""How many layers or pairs are listed."""

_MOST_NODES = 50
_MOST_LABEL, _MOST_KIND = 26, 20

_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "uint8": "int8"}
_COLOURED = frozenset(("fp32", "fp16", "bf16", "int8", "fp8"))


def render(maps: Sequence[EngineMap], pairs: Sequence[Counterpart] = ()) -> str:
    """Return the page: the costs of one engine or two, the work of two side by side, and all layers."""
    style, script = page_files("report.css", "engine.css"), page_files("tables.js", "search.js", "graph.js")
    longest = max((max(pair.old_ms, pair.new_ms) for pair in pairs), default=0.0)
    return fill(
        "engine.html",
        policy=f"default-src 'none'; script-src {hash_of(script)}; style-src {hash_of(style)}; base-uri 'none'; "
        "form-action 'none'",
        style=style,
        script=script,
        title=escape(" and ".join(engine.name for engine in maps)),
        engines=[_engine(engine, f"e{number}") for number, engine in enumerate(maps)],
        pairs=[_pair(pair, longest) for pair in pairs[:MOST_ROWS]],
    )


def _engine(engine: EngineMap, anchor: str) -> dict[str, Any]:
    timed = engine.total.ms is not None
    rest = len(engine.layers) - MOST_ROWS
    nodes = "by ONNX node" + (f", the {_MOST_NODES} most expensive" if len(engine.by_nodes) > _MOST_NODES else "")
    return {
        "anchor": anchor,
        "name": escape(engine.name),
        "layers": layers_line(engine),
        "reformats": reformats_line(engine),
        "notes": list(map(escape, engine.notes)),
        "caption": "the layers in order, as wide as their time" if timed else "the layers in order",
        "strip": list(_strip(engine)),
        **_graph(engine),
        "shares": [
            ("by precision", [_share(share, _kind(share.name)) for share in engine.by_precision]),
            ("by type", [_share(share, "other") for share in engine.by_type]),
            (nodes, [_share(share, "other") for share in engine.by_nodes[:_MOST_NODES]]),
        ],
        "rows": [_layer(n, fact, engine.total.ms) for n, fact in enumerate(engine.layers[:MOST_ROWS])],
        "rest": f"and {rest} more: --json has all" if rest > 0 else "",
    }


def _strip(engine: EngineMap) -> Iterator[dict[str, str]]:
    """Yield a rectangle for each layer: its colour is the precision, and its width the share of the time."""
    total, start = engine.total.ms, 0.0
    for fact in engine.layers[:MOST_ROWS]:
        layer = fact.layer
        width = 1000 * (layer.ms or 0.0) / total if total else 1000 / len(engine.layers)
        title = f"{layer.name}: {format_ms(layer.ms)} ms, {layer.precision or '?'}, {layer.kind}"
        yield {"kind": _kind(layer.precision), "x": f"{start:.3f}", "width": f"{width:.3f}", "title": escape(title)}
        start += width


def _graph(engine: EngineMap) -> dict[str, Any]:
    """Return the graph of the layers, or the reason why there is none."""
    if len(engine.layers) > graph.MOST_LAYERS:
        return {"graph": None, "no_graph": f"More than {graph.MOST_LAYERS} layers are not drawn as a graph."}
    if not engine.edges:
        reason = "It is not reported which layer reads which tensor: trtexec does with --profilingVerbosity=detailed."
        return {"graph": None, "no_graph": reason}
    drawing = graph.lay_out(len(engine.layers), engine.edges)
    longest = max((fact.layer.ms or 0.0 for fact in engine.layers), default=0.0)
    nodes = [
        {
            "x": x,
            "y": y,
            "kind": _kind(fact.layer.precision),
            "reformat": fact.is_reformat,
            "label": escape(_shortened(fact.layer.name)),
            "about": escape(" ".join(filter(None, (_cut(fact.layer.kind), _time(fact.layer.ms))))),
            "title": escape(_graph_title(fact)),
            "time": f"{graph.WIDTH * (fact.layer.ms or 0.0) / longest if longest else 0.0:.1f}",
        }
        for (x, y), fact in zip(drawing.nodes, engine.layers, strict=True)
    ]
    paths = [(path, escape(edge.tensor)) for path, edge in zip(drawing.paths, engine.edges, strict=True)]
    return {"graph": drawing, "graph_nodes": nodes, "graph_paths": paths, "node_size": (graph.WIDTH, graph.HEIGHT)}


def _time(ms: float | None) -> str:
    return "" if ms is None else f"{format_ms(ms)} ms"


def _shortened(name: str) -> str:
    """Return the end of a name, which distinguishes layers."""
    return name if len(name) <= _MOST_LABEL else f"…{name[1 - _MOST_LABEL :]}"


def _cut(kind: str) -> str:
    """Return the start of a type, which has a place on a layer of the graph."""
    return kind if len(kind) <= _MOST_KIND else f"{kind[: _MOST_KIND - 1]}…"


def _graph_title(fact: LayerFacts) -> str:
    layer = fact.layer
    return ", ".join(filter(None, (layer.name, _time(layer.ms), layer.kind, layer.precision, layer.tactic)))


def _share(share: Share, kind: str) -> dict[str, Any]:
    name = escape(share.name) or "not reported"
    return {"name": name, "cells": share_cells(share), "kind": kind, "percent": f"{100 * (share.share or 0.0):.2f}"}


def _layer(number: int, fact: LayerFacts, total: float | None) -> dict[str, Any]:
    layer = fact.layer
    share = layer.ms / total if layer.ms is not None and total else None
    kind = layer.kind + (" (reformat)" if fact.is_reformat else "")
    return {
        "name": escape(layer.name),
        "cells": (str(number), format_ms(layer.ms), format_percent(share), format_mb(fact.moved_mb)),
        "kind": _kind(layer.precision),
        "percent": f"{100 * (share or 0.0):.2f}",
        "texts": list(map(escape, (layer.precision or "?", kind, layer.tactic, layer.formats))),
    }


def _pair(pair: Counterpart, longest: float) -> dict[str, Any]:
    widths = (f"{100 * ms / longest if longest else 0.0:.2f}" for ms in (pair.old_ms, pair.new_ms))
    return {
        "nodes": escape(", ".join(pair.nodes)),
        "cells": (format_ms(pair.old_ms), format_ms(pair.new_ms), f"{pair.delta_ms:+.4f}"),
        **dict(zip(("old", "new"), widths, strict=True)),
        "what": escape(f"{pair.kind}: {pair.detail}" if pair.detail else pair.kind),
        "first": escape(", ".join(pair.old)),
        "second": escape(", ".join(pair.new)),
    }


def _kind(precision: str) -> str:
    """Return the class of a precision's colour."""
    name = _PRECISIONS.get(precision.lower(), precision.lower())
    return name if name in _COLOURED else "other"
