"""What a test expects of its engine: budgets, accuracy, and the tolerance against its baseline."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Any

from pytest_trt.core.backends import REFERENCE
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.validation import check_fields, parse_share, set_fields
from pytest_trt.errors import DeclarationError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits that hold for a device (`gpu`, `cpu`, or whole words of its name) and for parameters (`where`)."""

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
            if name not in FIGURES or not FIGURES[name].budget:
                raise DeclarationError(f"trt_budget: {name!r} is no figure that has a budget")
            if limit <= 0:
                raise DeclarationError(f"trt_budget: {name} is {limit:g}: a limit must be above 0")

    @property
    def scope(self) -> str:
        """What it holds for, in words."""
        where = ", ".join(f"{name}={value!r}" for name, value in sorted(self.where.items()))
        return f"{self.device!r} where {where}" if where else repr(self.device)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What the outputs must be. `reference` is `onnxruntime`, `baseline`, a path to an .npz, or a function that takes
    the inputs by name and returns the outputs by name. `unordered` maps outputs to the axis along which
    they may be in any order, see judge.order. The rest are limits, see judge.tolerance.Allowed."""

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
                "trt_accuracy: a baseline keeps a sample of the outputs, of which no top1, top5 or order can be told: "
                "name another reference"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a test may move from its baseline, as shares (0.03 is 3 %), and whether that is enforced."""

    max_slowdown: float | None = None
    max_memory_growth: float | None = None
    paired: bool | None = None
    enforce: bool = True
    until: datetime.date | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        for name in ("max_slowdown", "max_memory_growth"):
            set_fields(self, **{name: parse_share(getattr(self, name), f"trt_regression: {name}")})
        if isinstance(self.until, str):
            try:
                set_fields(self, until=datetime.date.fromisoformat(self.until))
            except ValueError:
                message = f"trt_regression: until is {self.until!r}: write a date such as '2027-01-31'"
                raise DeclarationError(message) from None
        check_fields(self, "trt_regression")
        if not self.enforce and not (self.reason.strip() and self.until):
            raise DeclarationError("trt_regression: enforce=False needs until='YYYY-MM-DD' and a reason='...'")
