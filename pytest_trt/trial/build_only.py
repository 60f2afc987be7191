"""The result of a test whose engine is only built."""

from __future__ import annotations

from pytest_trt.core.records import Result, Verdict
from pytest_trt.engine.backends.plan_header import check_capabilities, check_origin
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case


def build_result(bench: Bench, node_id: str, case: Case) -> Result:
    """Build the engines of a test, or find them in the cache, and run nothing.

    Args:
        bench: The resources of the run.
        node_id: The test.
        case: What the test declares.

    Raises:
        BackendError: A prebuilt plan is for another product, version or device, according to its header.
    """
    engine = case.engine
    if case.model.kind == "plan":
        version, requested = bench.server(case.backend).version, bench.settings.compute_capabilities
        origin = check_origin(case.backend, version, case.model.path, case.spec.host_code_allowed)
        check_capabilities(origin, case.model.path, requested, "--trt-compute-capability requests")
        how = "is prebuilt"
    else:
        _ = case.declared_generation  # builds the model that reads the prompt
        how = f"built in {engine.build_s:.1f} s" if engine.built and engine.build_s is not None else "in the cache"
    verdict = Verdict("ok", "run", "", f"engine {how}: {engine.digest[:12]}")
    return Result(node_id, (verdict,), built_s=engine.build_s if engine.built else None)
