"""The tensors between a model's inputs and outputs, and copies of the model with some of them as outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx import external_data, rewrite, traverse

_FLOAT_TYPES = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")


@dataclasses.dataclass(frozen=True)
class IntermediateTensor:
    """A float tensor that a node of the main graph computes.

    Attributes:
        tensor: The tensor's name.
        node: The name of the node that computes it, or the node's operator and position if it has no name.
        op: The node's operator.
        sources: The nearest intermediate tensors that it is computed from.
    """

    tensor: str
    node: str
    op: str
    sources: tuple[str, ...]


class TensorGraph:
    """The intermediate float tensors of a model, and how they depend on each other.

    The graphs inside an If, a Loop or a Scan count as part of that node.

    Attributes:
        tensors: The float tensors that depend on the model's inputs, by name. Each comes after those that it is
            computed from.
        outputs: The names of the model's outputs.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        with ScratchFolder("types") as folder:
            self._typed = rewrite.load_typed(model.path, folder)
        rewrite.sort_nodes(self._typed.graph, model.path.name)
        self.outputs = tuple(value.name for value in self._typed.graph.output)
        self._inputs = frozenset(tensor.name for tensor in model.inputs)
        self._sources: dict[str, tuple[str, ...]] = {tensor.name: () for tensor in model.inputs}
        self.tensors: Mapping[str, IntermediateTensor] = dict(self._find_tensors())

    def _find_tensors(self) -> Iterator[tuple[str, IntermediateTensor]]:
        """Yield every intermediate tensor by name, in order.

        Fills `_sources`: the nearest intermediate tensors of each tensor that depends on an input.
        """
        for position, node in enumerate(self._typed.graph.node):
            read = [name for name in traverse.names_read(node) if name in self._sources]
            if not read:
                continue
            sources = tuple(dict.fromkeys(source for name in read for source in self._nearest(name)))
            for name in filter(None, node.output):
                self._sources[name] = sources
                if self._types.get(name) in _FLOAT_TYPES:
                    yield (
                        name,
                        IntermediateTensor(name, node.name or f"{node.op_type} #{position}", node.op_type, sources),
                    )

    def _nearest(self, tensor: str) -> tuple[str, ...]:
        """Return the tensor itself if it is intermediate, else the nearest intermediate tensors that it depends on.

        There are none for a tensor that does not depend on an input.
        """
        computed = tensor in self._sources and tensor not in self._inputs
        is_intermediate = computed and self._types.get(tensor) in _FLOAT_TYPES
        return (tensor,) if is_intermediate else self._sources.get(tensor, ())

    @cached_property
    def _types(self) -> Mapping[str, str]:
        import onnx

        graph, type_name = self._typed.graph, onnx.TensorProto.DataType.Name
        return {v.name: type_name(v.type.tensor_type.elem_type) for v in (*graph.value_info, *graph.output)}

    def upstream(self, tensor: str) -> frozenset[str]:
        """Return all intermediate tensors that `tensor` is computed from, and `tensor` itself if it is one."""
        found, waiting = set[str](), [tensor]
        while waiting:
            new = set(self._nearest(waiting.pop())) - found
            found |= new
            waiting += [source for name in new for source in self.tensors[name].sources]
        return frozenset(found)

    def write_marked(self, tensors: Iterable[str], output: Path) -> None:
        """Write the model to `output`, with the given tensors as additional outputs after its own."""
        import onnx

        marked = type(self._typed).FromString(self._typed.SerializeToString())
        types = {value.name: value.type.tensor_type.elem_type for value in marked.graph.value_info}
        for name in tensors:
            if name not in self.outputs:
                marked.graph.output.append(onnx.helper.make_tensor_value_info(name, types[name], None))
        external_weights = any(map(traverse.is_external, traverse.tensors(marked)))
        external_data.load_weights(marked, self._model.path)
        rewrite.save_model(marked, output, external_weights=external_weights)
