"""Judge whether more nodes of a model run on the CPU than in the baseline's run, for ONNX Runtime on a GPU.

The placement of nodes does not scatter from run to run, so the verdict is exact.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_trt.core.records import Verdict

_COUNT, _OPERATORS = "cpu_nodes", "cpu_operators"
"""The names of the observations in a proof."""


def judge_placement(new: Mapping[str, str], old: Mapping[str, str]) -> tuple[Verdict, ...]:
    """Return the verdict on the nodes that compute on the CPU; none if either run did not count them.

    Args:
        new: What really ran, as text by name (`Measurement.proof`).
        old: The same of the baseline.
    """
    counts = [proof.get(_COUNT, "") for proof in (new, old)]
    if not all(count.isdecimal() for count in counts):
        return ()
    now, before = map(int, counts)
    compared = f"{now} compute on the CPU, {before} in the baseline's run"
    if now <= before:
        return (Verdict("ok", "layers", _COUNT, f"nodes ok: {compared}"),)
    text = f"nodes regressed: {compared} ({new.get(_OPERATORS) or 'their operators are not recorded'})"
    return (Verdict("regressed", "layers", _COUNT, text),)
