"""The record of all that is known of a test on a device over time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pytest_trt.core.past_run import PastRun


@dataclasses.dataclass(frozen=True)
class CaseHistory:
    """The runs of a test on a device.

    Attributes:
        node_id: The test's node id.
        device: The name of the device.
        status: The verdict of its last run; empty if only baselines were read.
        software: The backend and the driver of its last run, with their versions.
        trends: The trend of each figure that its runs have, by the name of the figure.
    """

    node_id: str
    device: str
    status: str
    software: str
    trends: Mapping[str, tuple[PastRun, ...]]
