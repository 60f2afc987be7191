"""Show the layers of an engine and what they cost, or two engines side by side, for `pytest-trt explore`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_trt.core.engine_map import Counterpart, EngineMap, LayerFacts, Share
from pytest_trt.core.foreign_text import escape
from pytest_trt.report.console import PIPED_WIDTH
from pytest_trt.report.console import render as render_console
from pytest_trt.report.numbers import format_count, format_number

if TYPE_CHECKING:
    from rich.console import Console

_MOST_NODES = 20
"""How many of the most expensive ONNX nodes are listed."""

_MOST_RUNS = 40
"""How many changes of precision are listed."""

_MOST_ROWS = 2000
"""How many layers are listed: rich needs about 2 ms for each."""

_LAYER_COLUMNS = ("#", "ms", "%", "MB", "precision", "type", "layer")
_SHARE_COLUMNS = ("ms", "%", "MB", "layers", "")
_PAIR_COLUMNS = ("first ms", "second ms", "change", "what", "ONNX nodes and layers")


def render(
    maps: Sequence[EngineMap],
    pairs: Sequence[Counterpart] = (),
    *,
    width: int = PIPED_WIDTH,
    colour: bool,
    encoding: str = "utf-8",
) -> str:
    """Return one engine, or two engines side by side, as text.

    Args:
        maps: One engine, or two.
        pairs: The work of the two engines side by side.
        width: The width of the terminal in columns.
        colour: Whether to add ANSI colour codes.
        encoding: The encoding of the output. A character that it lacks is replaced by a plain one.
    """

    def draw(console: Console) -> None:
        for engine in maps:
            _print_summary(console, engine)
        if len(maps) == 1:
            _print_engine(console, maps[0])
        else:
            _print_pairs(console, pairs)

    return render_console(draw, width=width, colour=colour, encoding=encoding)


def layers_line(engine: EngineMap) -> str:
    """Return how many layers an engine has, and their time."""
    time = f", {format_number(engine.total.ms)} ms" if engine.total.ms is not None else ", not timed"
    return f"{format_count(engine.total.layers, 'layer')}{time}"


def reformats_line(engine: EngineMap) -> str:
    """Return how many reformats an engine has, and what they cost."""
    cost = engine.reformats
    time = f", {format_number(cost.ms)} ms ({format_percent(cost.share)})" if cost.ms is not None else ""
    return f"{format_count(cost.layers, 'reformat')}{time}"


def _print_summary(console: Console, engine: EngineMap) -> None:
    _heading(console, f"{engine.name}: {layers_line(engine)}")
    _lines(console, [reformats_line(engine), _precision_line(engine), *engine.notes])


def _precision_line(engine: EngineMap) -> str:
    """Return the precisions in the order of the layers, such as `12 fp16, 1 fp32, 3 fp16`."""
    precisions = (fact.layer.precision or "?" for fact in engine.layers)
    runs = [f"{len(list(group))} {name}" for name, group in itertools.groupby(precisions)]
    more = f", and {len(runs) - _MOST_RUNS} more changes" if len(runs) > _MOST_RUNS else ""
    return f"precisions in order: {', '.join(runs[:_MOST_RUNS])}{more}"


def _print_engine(console: Console, engine: EngineMap) -> None:
    _heading(console, "by type")
    _print_shares(console, engine.by_type)
    _heading(console, "by precision")
    _print_shares(console, engine.by_precision)
    more = len(engine.by_nodes) - _MOST_NODES
    _heading(console, "by ONNX node" + (f", the {_MOST_NODES} most expensive of {len(engine.by_nodes)}" * (more > 0)))
    _print_shares(console, engine.by_nodes[:_MOST_NODES])
    _heading(console, "layers in the order in which they run")
    total = engine.total.ms
    rows = (_layer_cells(number, fact, total) for number, fact in enumerate(engine.layers[:_MOST_ROWS]))
    _table(console, _LAYER_COLUMNS, 4, rows)
    _print_rest(console, len(engine.layers))


def _print_rest(console: Console, rows: int) -> None:
    if rows > _MOST_ROWS:
        _lines(console, [f"and {rows - _MOST_ROWS} more: --json has all"])


def _layer_cells(number: int, fact: LayerFacts, total: float | None) -> Iterator[str]:
    layer = fact.layer
    yield str(number)
    yield format_ms(layer.ms)
    yield format_percent(layer.ms / total if layer.ms is not None and total else None)
    yield format_mb(fact.moved_mb)
    yield layer.precision or "?"
    yield layer.kind + (" (reformat)" if fact.is_reformat else "")
    yield "\n".join(filter(None, map(escape, (layer.name, layer.tactic, layer.formats))))


def share_cells(share: Share) -> tuple[str, str, str, str]:
    """Return the time, its share, the size and the number of layers."""
    return format_ms(share.ms), format_percent(share.share), format_mb(share.moved_mb), str(share.layers)


def _print_shares(console: Console, shares: Iterable[Share]) -> None:
    rows = (
        (
            format_ms(share.ms),
            format_percent(share.share),
            format_mb(share.moved_mb),
            str(share.layers),
            share.name or "not reported",
        )
        for share in shares
    )
    _table(console, _SHARE_COLUMNS, 4, rows)


def _print_pairs(console: Console, pairs: Sequence[Counterpart]) -> None:
    _heading(console, "the same work in both, that whose time differs most first")
    _table(console, _PAIR_COLUMNS, 3, map(_pair_cells, pairs[:_MOST_ROWS]))
    _print_rest(console, len(pairs))


def _pair_cells(pair: Counterpart) -> Iterator[str]:
    yield format_ms(pair.old_ms) if pair.old else "-"
    yield format_ms(pair.new_ms) if pair.new else "-"
    yield f"{pair.delta_ms:+.4f}"
    yield pair.kind
    lines = [", ".join(pair.nodes)]
    if pair.old == pair.new:
        lines += [f"both: {', '.join(pair.old)}"] if pair.old != pair.nodes else []
    else:
        lines += [f"first: {', '.join(pair.old)}"] if pair.old else []
        lines += [f"second: {', '.join(pair.new)}"] if pair.new else []
    lines += [pair.detail] if pair.detail else []
    yield "\n".join(map(escape, lines))


def format_ms(value: float | None) -> str:
    """Return a time in ms, or `-` if it is unknown."""
    return "-" if value is None else f"{value:.4f}"


def format_mb(value: float | None) -> str:
    """Return a size in MB, or `-` if it is unknown."""
    return "-" if value is None else format_number(value, 3)


def format_percent(share: float | None) -> str:
    """Return a share in percent, or `-` if it is unknown."""
    return "-" if share is None else f"{100 * share:.1f} %"


def _heading(console: Console, text: str) -> None:
    from rich.text import Text

    console.print(Text(escape(text), "bold"), overflow="fold")


def _lines(console: Console, lines: Iterable[str]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for line in lines:
        console.print(Padding(Text(escape(line), overflow="fold"), (0, 0, 0, 2)))


def _table(console: Console, columns: Sequence[str], numeric: int, rows: Iterable[Iterable[str]]) -> None:
    """Print a table whose first `numeric` columns are numbers. The last column is escaped already if it has lines."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        is_last = index == len(columns) - 1
        is_number = index < numeric
        table.add_column(
            column, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold",
            ratio=1 if is_last else None,
        )  # fmt: skip
    for row in rows:
        *cells, last = row
        table.add_row(*(Text(escape(cell)) for cell in cells), Text("\n".join(map(escape, last.split("\n")))))
    console.print(Padding(table, (0, 0, 0, 2)))
