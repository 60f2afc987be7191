"""Show what a model or a plan contains, for `pytest-trt inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_trt.core.foreign_text import escape
from pytest_trt.core.model_facts import BackendFacts, ModelFacts, PlanFacts, PrecisionFacts, TensorFacts, WeightFacts
from pytest_trt.report.console import PIPED_WIDTH
from pytest_trt.report.console import render as render_console
from pytest_trt.report.numbers import format_count

if TYPE_CHECKING:
    from rich.console import Console

_MOST_NAMES = 5
_INDENT = 2


def render(
    name: str, facts: ModelFacts | PlanFacts, *, width: int = PIPED_WIDTH, colour: bool, encoding: str = "utf-8"
) -> str:
    """Return the facts about a model or a plan as text.

    Args:
        name: The path of the model or plan.
        facts: The facts.
        width: The width of the terminal in columns.
        colour: Whether to add ANSI colour codes.
        encoding: The encoding of the output. A character that it lacks is replaced by a plain one.
    """

    def draw(console: Console) -> None:
        if isinstance(facts, PlanFacts):
            _print_plan(console, name, facts)
        else:
            _print_model(console, name, facts)

    return render_console(draw, width=width, colour=colour, encoding=encoding)


def _print_plan(console: Console, name: str, facts: PlanFacts) -> None:
    _heading(console, f"{name}: a plan of {facts.product} {facts.version}, {_size(facts.bytes)}")
    _lines(console, [f"built for compute capability {', '.join(facts.capabilities)}"] if facts.capabilities else [])
    _print_backend(console, facts.backend)
    _print_marker(console, facts.marker)


def _print_model(console: Console, name: str, facts: ModelFacts) -> None:
    opsets = ", ".join(f"opset {v}" if d == "ai.onnx" else f"{d} {v}" for d, v in facts.opsets.items())
    producer = f", from {facts.producer}" if facts.producer else ""
    _heading(console, f"{name}: an ONNX model, {opsets}, {_size(facts.bytes)}{producer}")
    _lines(console, [f"external data in {_listed(facts.external)}"] if facts.external else [])
    for title, tensors in (("inputs", facts.inputs), ("outputs", facts.outputs)):
        _heading(console, title)
        _grid(console, [(t.name, t.dtype, _shape(t)) for t in tensors])
    _heading(console, "weights and constants")
    _grid(console, map(_weight_cells, facts.weights))
    _lines(console, (line for weights in facts.weights for line in _weight_notes(weights)))
    _heading(console, "operators")
    _lines(console, [", ".join(f"{operator} {count}" for operator, count in facts.operators.items())])
    _print_precision(console, facts.precision)
    _print_backend(console, facts.backend)
    _print_marker(console, facts.marker)
    if facts.open_dims:
        _lines(console, ["its sizes are examples of (min, opt, max): write those that you run"])


def _print_precision(console: Console, facts: PrecisionFacts) -> None:
    if facts.refusal:
        _heading(console, f"{facts.precision}: refused", "bold red")
        _lines(console, [facts.refusal])
    elif facts.nodes:
        kept = sum(len(names) for group in facts.kept for names in group.nodes.values())
        _heading(console, f"{facts.precision}: {kept} of {facts.nodes} nodes stay in fp32")
    elif facts.notes:
        _heading(console, facts.precision)
    for group in facts.kept:
        _lines(console, [f"{group.reason}:", *(f"  {line}" for line in _node_lines(group.nodes))])
    _lines(console, facts.notes)


def _node_lines(nodes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for operator, names in nodes.items():
        yield f"{operator} {len(names)}: {_listed(names)}"


def _print_backend(console: Console, facts: BackendFacts | None) -> None:
    if facts is None:
        return
    verdict = "refuses it" if facts.refusal else "takes it"
    _heading(console, f"{facts.name} {facts.version} {verdict}", "bold red" if facts.refusal else "bold")
    _lines(console, facts.refusal.split("\n") if facts.refusal else [])


def _print_marker(console: Console, marker: str) -> None:
    from rich.text import Text

    _heading(console, "marker")
    # A wrapped line could not be copied.
    console.print(Text(" " * _INDENT + escape(marker)), no_wrap=True, overflow="ignore", crop=False)


def _heading(console: Console, text: str, style: str = "bold") -> None:
    from rich.text import Text

    console.print(Text(escape(text), style), overflow="fold")


def _lines(console: Console, lines: Iterable[str]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for line in lines:
        own = len(line) - len(line.lstrip())
        console.print(Padding(Text(escape(line.lstrip()), overflow="fold"), (0, 0, 0, _INDENT + own)))


def _grid(console: Console, rows: Iterable[Sequence[str]]) -> None:
    """Print rows of cells in columns that are as wide as their cells."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    cells = [[Text(escape(cell)) for cell in row] for row in rows]
    if not cells:
        _lines(console, ["none"])
        return
    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    for _ in cells[0]:
        grid.add_column(overflow="fold")
    for row in cells:
        grid.add_row(*row)
    console.print(Padding(grid, (0, 0, 0, _INDENT)))


def _shape(tensor: TensorFacts) -> str:
    if tensor.dims is None:
        return "unknown rank"
    return " x ".join(tensor.dims) or "scalar"


def _weight_cells(weights: WeightFacts) -> tuple[str, ...]:
    span = "" if weights.low is None or weights.high is None else f"{weights.low:.6g} to {weights.high:.6g}"
    values = format_count(weights.values, "value")
    return weights.dtype, format_count(weights.tensors, "tensor"), values, _size(weights.bytes), span


def _weight_notes(weights: WeightFacts) -> Iterator[str]:
    if weights.not_finite:
        yield f"NaN or infinities in {_listed(weights.not_finite)}"
    if weights.beyond_fp16:
        yield f"values beyond float16's range in {_listed(weights.beyond_fp16)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"


def _size(count: int) -> str:
    """Return a number of bytes in decimal units, as engines are shown."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}" if count < 100 * scale else f"{count / scale:.0f} {unit}"
    return f"{count} B"
