"""Load weights that are not in the plan, or not on the device.

The weights of a stripped plan are restored from its model. With weight streaming, some weights stay in host memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.errors import BackendError

WEIGHTS = "weights.onnx"
"""The file beside a stripped plan with the model that it was built from: the plan cannot run without its weights."""


def restore_weights(trt: Any, engine: Any, plan: Path) -> None:
    """Restore the weights of a stripped plan from the model beside it; do nothing if there is no such model.

    Raises:
        BackendError: This package cannot restore weights, or the weights do not fit the plan.
    """
    model = plan.with_name(WEIGHTS)
    if not model.is_file():
        return
    if not hasattr(trt, "OnnxParserRefitter"):
        raise BackendError(
            f"{plan} was built without weights, and {trt.__name__} {trt.__version__} cannot restore them: use the full "
            "package, tensorrt 10 or later"
        )
    log = logger(trt)
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(model)):
        errors = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        raise BackendError(f"the weights of {model} do not fit {plan}: {'; '.join(errors) or log.reason()}")
    if not refitter.refit_cuda_engine():
        missing = ", ".join(refitter.get_missing_weights()) or "none"
        raise BackendError(f"the weights of {plan} cannot be restored (missing: {missing}): {log.reason()}")


def set_streaming_budget(trt: Any, engine: Any, budget: int | str | None) -> None:
    """Set how much of the streamable weights stays on the device. Call this before an execution context exists.

    Args:
        trt: The module of the package.
        engine: The deserialised engine.
        budget: The size in bytes, a share of the streamable weights ("40%"), or "auto" for TensorRT's own choice; None
            to leave the engine as it is.

    Raises:
        BackendError: The plan has no streamable weights, or TensorRT rejects the budget.
    """
    if budget is None:
        return
    versions.require(trt, "weight_streaming_budget")
    streamable = int(engine.streamable_weights_size)
    if streamable == 0:
        raise BackendError(
            f"weight_streaming_budget={budget!r}: the plan has no weights that can be streamed: build it with "
            "weight_streaming=True"
        )
    if budget == "auto":
        requested = int(engine.get_weight_streaming_automatic_budget())
    else:
        requested = int(streamable * float(budget[:-1]) / 100) if isinstance(budget, str) else min(budget, streamable)
    engine.weight_streaming_budget_v2 = requested
    if (actual := int(engine.weight_streaming_budget_v2)) != requested:
        raise BackendError(
            f"weight_streaming_budget={budget!r} was rejected by TensorRT (it stays {actual} bytes of {streamable}): "
            f"{logger(trt).reason()}"
        )
