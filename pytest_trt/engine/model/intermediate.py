"""The tensors between a model's inputs and outputs, and the model with some of them marked as outputs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx import rewrite, traverse

_FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")


@dataclasses.dataclass(frozen=True)
class IntermediateTensor:
    """A tensor that a node of the main graph gives. `node` is its name, or its operator and place where it has none;
    `sources` are the points that it is computed from, the nearest ones."""

    tensor: str
    node: str
    op: str
    sources: tuple[str, ...]


class TensorGraph:
    """The float tensors of a model that depend on its inputs, by name, in an order in which each stands behind those
    that it is computed from. What is inside an If, a Loop or a Scan belongs to that node."""

    def __init__(self, model: Model) -> None:
        self._model = model
        with tempfile.TemporaryDirectory() as folder:
            self._light = rewrite.load_typed(model.path, Path(folder))
        rewrite.sort_nodes(self._light.graph, model.path.name)
        self.outputs = tuple(value.name for value in self._light.graph.output)
        self._inputs = frozenset(tensor.name for tensor in model.inputs)

        self._above: dict[str, tuple[str, ...]] = {tensor.name: () for tensor in model.inputs}
        self.tensors: Mapping[str, IntermediateTensor] = dict(self._found())

    def _found(self) -> Iterator[tuple[str, IntermediateTensor]]:
        """Every point, in order. `_above` gets the nearest points above each tensor that is not of weights alone."""
        for place, node in enumerate(self._light.graph.node):
            read = [name for name in rewrite.names_read(node) if name in self._above]
            if not read:
                continue
            sources = tuple(dict.fromkeys(source for name in read for source in self._nearest(name)))
            for name in filter(None, node.output):
                self._above[name] = sources
                if self._types.get(name) in _FLOATS:
                    yield name, IntermediateTensor(name, node.name or f"{node.op_type} #{place}", node.op_type, sources)

    def _nearest(self, tensor: str) -> tuple[str, ...]:
        """The tensor, if it is a point, else the nearest ones above it; none above what no input goes into."""
        is_point = self._types.get(tensor) in _FLOATS and tensor not in self._inputs and tensor in self._above
        return (tensor,) if is_point else self._above.get(tensor, ())

    @cached_property
    def _types(self) -> Mapping[str, str]:
        import onnx

        graph, name_of = self._light.graph, onnx.TensorProto.DataType.Name
        return {v.name: name_of(v.type.tensor_type.elem_type) for v in (*graph.value_info, *graph.output)}

    def upstream(self, tensor: str) -> frozenset[str]:
        """The points that `tensor` is computed from, near and far; itself too, if it is one."""
        found, waiting = set[str](), [tensor]
        while waiting:
            new = set(self._nearest(waiting.pop())) - found
            found |= new
            waiting += [source for name in new for source in self.tensors[name].sources]
        return frozenset(found)

    def write_marked(self, tensors: Iterable[str], output: Path) -> None:
        """Write the model to `output` with these tensors as outputs too, behind its own."""
        import onnx

        whole = type(self._light).FromString(self._light.SerializeToString())
        kinds = {value.name: value.type.tensor_type.elem_type for value in whole.graph.value_info}
        for name in tensors:
            if name not in self.outputs:
                whole.graph.output.append(onnx.helper.make_tensor_value_info(name, kinds[name], None))
        beside = any(map(traverse.is_external, traverse.tensors(whole)))
        onnx.load_external_data_for_model(whole, str(self._model.path.parent))
        rewrite.save_model(whole, output, beside=beside)
