"""The records of what `pytest-trt inspect` finds in a model or a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorFacts:
    """An input or output of a model.

    Attributes:
        name: Its name.
        dtype: The name of its type in numpy or ml_dtypes.
        dims: Its dimensions: a size, a name, or `?` for a dynamic dimension without a name. None for an unknown rank.
    """

    name: str
    dtype: str
    dims: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightFacts:
    """The weights and constants of one type.

    Attributes:
        dtype: The name of the type in numpy or ml_dtypes, or `string`.
        tensors: How many there are.
        values: How many values they have together.
        bytes: Their size.
        low: The smallest finite value; None if there is none.
        high: The largest finite value; None if there is none.
        not_finite: The tensors with NaN or infinities.
        beyond_fp16: The float tensors with finite values beyond float16's range.
    """

    dtype: str
    tensors: int
    values: int
    bytes: int
    low: float | None
    high: float | None
    not_finite: tuple[str, ...] = ()
    beyond_fp16: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptNodes:
    """Nodes that do not get the requested precision, for one reason.

    Attributes:
        reason: The reason.
        nodes: The names of the nodes, by operator.
    """

    reason: str
    nodes: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrecisionFacts:
    """What a precision means for a model whose operators compute in the model's own types.

    Attributes:
        precision: The precision.
        nodes: How many nodes could have it: those that read or compute floats, or for int8 and fp8 those that are
            quantised.
        kept: The nodes among them that stay in fp32.
        notes: Notes on the weights or on the model.
        refusal: Why the model cannot have the precision; empty if it can.
    """

    precision: str
    nodes: int = 0
    kept: tuple[KeptNodes, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackendFacts:
    """What a backend says about a model or a plan.

    Attributes:
        name: The label of the backend.
        version: The version of its package.
        refusal: Why it does not take the model or the plan; empty if it does.
    """

    name: str
    version: str
    refusal: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model's file contains.

    Attributes:
        bytes: The size of the file and of the files of its external data.
        external: The files of its external data, as the model names them.
        opsets: The version of each operator set, by its domain.
        producer: The name and version of the exporter; empty if the model names none.
        inputs: The inputs.
        outputs: The outputs.
        operators: How many nodes each operator has, the most frequent first.
        weights: The weights, by type.
        marker: The marker that declares the model, as a line of Python.
        open_dims: Whether the marker has sizes that are only examples.
        precision: What the requested precision means.
        backend: What the requested backend says. None if none was requested.
    """

    bytes: int
    external: tuple[str, ...]
    opsets: Mapping[str, int]
    producer: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    operators: Mapping[str, int]
    weights: tuple[WeightFacts, ...]
    marker: str
    open_dims: bool
    precision: PrecisionFacts
    backend: BackendFacts | None = None

    @property
    def refused(self) -> bool:
        """Whether the precision or the backend refuses the model."""
        return bool(self.precision.refusal or (self.backend and self.backend.refusal))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanFacts:
    """What the header of a plan contains.

    Attributes:
        bytes: The size of the file.
        product: The product that built it.
        version: The version that built it.
        capabilities: The compute capabilities that it was built for; empty if its header has none.
        marker: The marker that declares the plan, as a line of Python.
        backend: What the requested backend says. None if none was requested.
    """

    bytes: int
    product: str
    version: str
    capabilities: tuple[str, ...]
    marker: str
    backend: BackendFacts | None = None

    @property
    def refused(self) -> bool:
        """Whether the backend refuses the plan."""
        return bool(self.backend and self.backend.refusal)
