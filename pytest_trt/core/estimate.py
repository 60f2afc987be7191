"""The record of a figure with its confidence interval."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its confidence interval, in the unit of the figure.

    Attributes:
        low: The lower end of the interval.
        high: The upper end of the interval. The confidence holds however often the interval is looked at while
            sampling continues.
        samples: The number of samples.
        needs_s: If positive, about how many more seconds an interval needs; `low` and `high` are then extremes.
    """

    value: float
    low: float
    high: float
    samples: int = 1
    needs_s: float = 0.0

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """Return an estimate of a figure without scatter, such as a size."""
        return cls(value, value, value)

    def inverse(self, of: float) -> Estimate:
        """Return the estimate of `of` divided by this figure."""
        return Estimate(of / self.value, of / self.high, of / self.low, self.samples, self.needs_s)
