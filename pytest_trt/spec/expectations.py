"""What a test requires of its engine: budgets, accuracy, and a tolerance against its baseline."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Any

from pytest_trt.core.backends import REFERENCE
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.validation import check_fields, parse_share, set_fields
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.gates import OWN_SETTINGS

LIMITS = tuple(name for name, figure in FIGURES.items() if figure.budget)
"""The names of the figures that a budget may limit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits on figures, for a device and for parameters of the test.

    Attributes:
        device: `gpu`, `cpu`, or whole words of the name of the device.
        limits: The limits by the name of the figure, in the unit of the figure.
        where: The values of parameters that the test must have, by name.
    """

    device: str = "gpu"
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "trt_budget")
        if not self.device.strip():
            raise DeclarationError("trt_budget: the device is empty: name 'gpu', 'cpu', or words of the device's name")
        if not self.limits:
            raise DeclarationError("trt_budget: no limit is given: name one, such as ms=10")
        for name, limit in self.limits.items():
            if name not in LIMITS:
                raise DeclarationError(f"trt_budget: {name!r} cannot have a limit: choose from {', '.join(LIMITS)}")
            if limit <= 0:
                raise DeclarationError(f"trt_budget: {name} is {limit:g}: a limit must be above 0")

    @property
    def scope(self) -> str:
        """The device and the parameters that the budget is for, in words."""
        where = ", ".join(f"{name}={value!r}" for name, value in sorted(self.where.items()))
        return f"{self.device!r} where {where}" if where else repr(self.device)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The reference of a test's outputs, and how far they may differ from it.

    Without any limit, the limits depend on the precision: see `judge.accuracy.allowed_error`.

    Attributes:
        reference: `onnxruntime`, `baseline`, the path of an .npz file, or a function that takes the inputs by name and
            returns the outputs by name.
        rtol: The largest relative error of an element, as in `numpy.allclose`.
        atol: The largest absolute error of an element, as in `numpy.allclose`.
        cosine: The smallest cosine similarity of an output.
        psnr_db: The smallest peak signal-to-noise ratio of an output, in dB.
        top1: The smallest share of rows whose largest element is at the same index.
        top5: The smallest share of the five largest elements of a row that are the same.
        inputs: The path of an .npz file of inputs, or a function that returns the inputs by name. By default, inputs
            are generated from the seed.
        unordered: The axis along which an output may be in any order, by the name of the output: see
            `judge.accuracy.unordered`.
    """

    reference: str | Callable[..., Any] = REFERENCE
    rtol: float | None = None
    atol: float | None = None
    cosine: float | None = None
    psnr_db: float | None = None
    top1: float | None = None
    top5: float | None = None
    inputs: str | Callable[..., Any] | None = None
    unordered: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "trt_accuracy")
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise DeclarationError(f"trt_accuracy: {name} is {value:g}: it must be 0 or above")
        for name, least in (("cosine", -1), ("top1", 0), ("top5", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value <= 1:
                raise DeclarationError(f"trt_accuracy: {name} is {value:g}: it must be from {least} to 1")
        if self.reference == "baseline" and (self.top1 is not None or self.top5 is not None or self.unordered):
            raise DeclarationError(
                "trt_accuracy: reference='baseline' does not allow top1, top5 or unordered, because a baseline keeps "
                "only a sample of each output: name another reference"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a test may move from its baseline, and whether that is enforced.

    Attributes:
        max_slowdown: The largest accepted slowdown, as a share (0.03 is 3 %). None means the setting of the run.
        max_memory_growth: The largest accepted growth in memory, as a share. None means the setting of the run.
        gates: How much worse other figures may be, as shares by the name of the figure. None means that the figure is
            not compared.
        paired: True measures the engine alternately with the baseline's even if their plans are identical. False always
            compares with the stored figures. None chooses automatically.
        enforce: Whether a regression fails the test.
        until: The last day on which a regression does not fail the test, if it is not enforced.
        reason: Why it is not enforced.
    """

    max_slowdown: float | None = None
    max_memory_growth: float | None = None
    gates: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    paired: bool | None = None
    enforce: bool = True
    until: datetime.date | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        for name in ("max_slowdown", "max_memory_growth"):
            set_fields(self, **{name: parse_share(getattr(self, name), f"trt_regression: {name}")})
        for name, own in OWN_SETTINGS.items():
            if name in self.gates and getattr(self, own) is not None:
                raise DeclarationError(f"trt_regression: {own} and {name}='off' contradict each other: remove one")
        if isinstance(self.until, str):
            try:
                set_fields(self, until=datetime.date.fromisoformat(self.until))
            except ValueError:
                message = f"trt_regression: until is {self.until!r}: write a date such as '2027-01-31'"
                raise DeclarationError(message) from None
        check_fields(self, "trt_regression")
        if not self.enforce and not (self.reason.strip() and self.until):
            raise DeclarationError("trt_regression: enforce=False needs until='YYYY-MM-DD' and a reason='...'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerLimits:
    """What the layers of a test's engine may be, as the engine's inspector or profiler reports them.

    Attributes:
        max_reformats: The largest number of layers that only copy a tensor or change its format.
        max_layers: The largest number of layers.
        no_fp32: Patterns of the names of layers, or of the ONNX nodes that they came from, which must not compute in
            fp32. `*` stands for any text.
        unchanged: Whether the layers and their precisions must be those of the baseline's engine.
    """

    max_reformats: int | None = None
    max_layers: int | None = None
    no_fp32: tuple[str, ...] = ()
    unchanged: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.no_fp32, (str, list)):
            set_fields(self, no_fp32=(self.no_fp32,) if isinstance(self.no_fp32, str) else tuple(self.no_fp32))
        check_fields(self, "trt_layers")
        for name, least in (("max_reformats", 0), ("max_layers", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise DeclarationError(f"trt_layers: {name} is {value}: it must be {least} or above")
        if not all(pattern.strip() for pattern in self.no_fp32):
            raise DeclarationError("trt_layers: no_fp32 has an empty pattern: name layers, such as 'encoder.*'")
        if self.max_reformats is None and self.max_layers is None and not (self.no_fp32 or self.unchanged):
            raise DeclarationError(
                "trt_layers: nothing is required: name a requirement, such as max_reformats=0 or unchanged=True"
            )
