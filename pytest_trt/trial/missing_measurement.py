"""Find out why a test that measured nothing should have measured."""

from __future__ import annotations

from pytest_trt.spec.declaration import Declaration


def missing_measurement(declaration: Declaration | None, *, stored: bool) -> str:
    """Return why a test that measured nothing should have measured; empty if nothing requires it.

    Args:
        declaration: What the test declares, if it is a test of this plugin.
        stored: Whether the test has a baseline.
    """
    reasons = {
        "budgets are declared": declaration is not None and declaration.budgets,
        "trt_accuracy is declared": declaration is not None and declaration.accuracy,
        "trt_generate is declared": declaration is not None and declaration.generation,
        "trt_layers is declared": declaration is not None and declaration.layers,
        "a baseline is stored": stored,
    }
    joined = " and ".join(reason for reason, applies in reasons.items() if applies)
    return f"{joined}, but the test measured nothing: call trt_runner.measure() in it" if joined else ""
