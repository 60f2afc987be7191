"""Follow whole numbers from integers, shapes and constants to the operators that make them ordinary."""

from __future__ import annotations

import dataclasses
from typing import Any

from pytest_trt.engine.convert.known_tensors import KnownTensors
from pytest_trt.engine.convert.masks import Masks
from pytest_trt.engine.convert.number_bounds import CONSTANT, INTEGERS, ORDINARY, UNKNOWN, Numbers, join
from pytest_trt.engine.convert.number_rules import NumberRules
from pytest_trt.engine.onnx import traverse

_READING_SHAPES = frozenset(("Shape", "Size"))

_LOOP_TURNS = 3
"""How often a Loop is followed. What still grows then is of unknown size."""


class NumberFlow:
    """The numbers in each tensor of a model, and the nodes that need float32 for them.

    Args:
        model: The normalised model (rewrite.load_normalised), whose nodes are sorted.
        precision: The half precision.

    Attributes:
        tensors: What the model declares of its tensors.
        makers: The node that computes each tensor, by the tensor's name.
        links: The tensors whose numbers a tensor has that enters or leaves a graph inside a node, by its name.
        nodes: The nodes that must compute in float32, by `node_key`.
        counted: The activations that are multiplied with or divided by a large number, such as a sum by its count.
    """

    def __init__(self, model: Any, precision: str) -> None:
        self.tensors = KnownTensors(model, UNKNOWN)
        self.makers: dict[str, Any] = {}
        self.links: dict[str, list[str]] = {}
        self.nodes: set[str] = set()
        self.counted: set[str] = set()
        self._masks, self._numbers = Masks(model), dict[str, Numbers]()
        self._rules = NumberRules(self.tensors, precision, self.numbers_of)
        for value in model.graph.input:
            self._numbers[value.name] = self._rules.input(value.name)
        self._follow(model.graph)

    def numbers_of(self, name: str) -> Numbers:
        """Return what is known of the numbers in a tensor."""
        if name not in self._numbers:
            is_weight = self.tensors.is_weight(name)
            self._numbers[name] = self._rules.weight(name) if is_weight else Numbers(*ORDINARY)
        return self._numbers[name]

    def is_beyond(self, name: str) -> bool:
        """Return whether a tensor is float and has numbers that need float32."""
        return self.tensors.is_float(name) and self.numbers_of(name).beyond

    def is_small_constant(self, name: str) -> bool:
        """Return whether a tensor is a constant that the half precision holds well enough to compare with it."""
        numbers = self.numbers_of(name)
        return numbers.source == CONSTANT and numbers.size <= self._rules.fraction_limit

    def _follow(self, graph: Any) -> None:
        for node in graph.node:
            self.makers.update(dict.fromkeys(filter(None, node.output), node))
            graphs = list(traverse.inner_graphs(node))
            if node.op_type == "If":
                for inner in graphs:
                    self._follow(inner)
                for index, name in enumerate(node.output):
                    self._link(name, [inner.output[index].name for inner in graphs])
            elif graphs:
                self._follow_body(node, graphs[0])
            else:
                self._follow_node(node)

    def _follow_body(self, node: Any, body: Any) -> None:
        """Follow numbers through the body of a Loop or a Scan: what one turn computes, the next one reads."""
        scanned = next((attribute.i for attribute in node.attribute if attribute.name == "num_scan_inputs"), 0)
        loop = node.op_type == "Loop"  # its body also reads the turn's number and a condition, and returns a condition
        outer, results = node.input[2 * loop :], [value.name for value in body.output[loop:]]
        read = [value.name for value in body.input[2 * loop :]]
        for value in body.input[: 2 * loop]:
            high = 1.0 if self.tensors.types.get(value.name) == "BOOL" else UNKNOWN
            self._numbers[value.name] = Numbers(0.0, high, True, source=INTEGERS)
        for name, source in zip(read, outer, strict=False):
            self._link(name, [source])
        for turn in range(_LOOP_TURNS):
            self._follow(body)
            for name, source, result in zip(read[: len(read) - scanned], outer, results, strict=False):
                before = self._numbers[name]
                self._link(name, [source, result])
                if turn == _LOOP_TURNS - 2 and self._numbers[name] != before:
                    self._let_grow(name)
        for name, result in zip(node.output, results, strict=False):
            self._link(name, [result])

    def _link(self, name: str, sources: list[str]) -> None:
        """Let a tensor have the numbers of others."""
        if name and any(sources):
            self.links[name] = list(filter(None, sources))
            self._numbers[name] = join([self.numbers_of(source) for source in self.links[name]])

    def _let_grow(self, name: str) -> None:
        """Let a whole number that grows from turn to turn be of unknown size."""
        numbers = self._numbers[name]
        if numbers.whole:
            is_float = self.tensors.is_float(name)
            self._numbers[name] = dataclasses.replace(numbers, low=-UNKNOWN, high=UNKNOWN, beyond=is_float)

    def _follow_node(self, node: Any) -> None:
        self.tensors.compute(node)
        floats = [name for name in node.input if name and self.tensors.is_float(name)]
        touched = any(self.numbers_of(name).beyond for name in floats)
        for index, name in enumerate(node.output):
            if name:
                result = self._rules.result(node, index)
                if result.beyond and not touched and self._masks.contain(name):
                    result = Numbers(*ORDINARY, source=result.source)
                self._numbers[name] = result
        if self._needs_float32(node):
            self.nodes.add(node_key(node))
        self.counted.update(self._rules.counted(node))

    def _needs_float32(self, node: Any) -> bool:
        """Return whether a node reads or computes numbers that need float32."""
        if node.op_type in _READING_SHAPES or self._rules.masked(node):
            return False
        read = node.input[:1] if node.op_type in ("Resize", "Upsample") else node.input
        names = [name for name in (*read, *node.output) if name and self.tensors.is_float(name)]
        return any(self.numbers_of(name).beyond for name in names)


def node_key(node: Any) -> str:
    """Return the name of a node's first result, which no other node computes."""
    return next(filter(None, node.output), "")
