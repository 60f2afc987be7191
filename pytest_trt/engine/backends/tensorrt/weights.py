"""Weights that are not in the plan, or not on the device: stripped ones come back, others are streamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.errors import BackendError

WEIGHTS = "weights.onnx"
"""The model that a stripped plan was built from, beside it: the plan runs with its weights only."""


def restore_weights(trt: Any, engine: Any, plan: Path) -> None:
    """Give an engine without weights those of the model beside its plan, if there is one. Raises BackendError where
    this package cannot, or where they do not fit."""
    model = plan.with_name(WEIGHTS)
    if not model.is_file():
        return
    if not hasattr(trt, "OnnxParserRefitter"):
        raise BackendError(
            f"{plan} has no weights, and {trt.__name__} {trt.__version__} cannot give it any: the full tensorrt 10 or "
            "later can"
        )
    log = logger(trt)
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(model)):
        said = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        raise BackendError(f"the weights of {model} do not fit {plan}: {'; '.join(said) or log.reason()}")
    if not refitter.refit_cuda_engine():
        missing = ", ".join(refitter.get_missing_weights()) or "none is missing"
        raise BackendError(f"{plan} cannot be given its weights ({missing}): {log.reason()}")


def set_streaming_budget(trt: Any, engine: Any, budget: int | str | None) -> None:
    """How much of the weights stays on the device: `budget` in bytes, as a share of what can be streamed ("40%"), or
    what TensorRT finds itself ("auto"). Call it before there is a context. Raises BackendError where nothing can be
    streamed or the budget is refused."""
    if budget is None:
        return
    versions.require(trt, "weight_streaming_budget")
    streamable = int(engine.streamable_weights_size)
    if streamable == 0:
        raise BackendError(
            f"weight_streaming_budget={budget!r}: nothing of this plan's weights can be streamed; build it with "
            "weight_streaming=True"
        )
    if budget == "auto":
        wanted = int(engine.get_weight_streaming_automatic_budget())
    else:
        wanted = int(streamable * float(budget[:-1]) / 100) if isinstance(budget, str) else min(budget, streamable)
    engine.weight_streaming_budget_v2 = wanted
    if (taken := int(engine.weight_streaming_budget_v2)) != wanted:
        raise BackendError(
            f"weight_streaming_budget={budget!r} is refused ({taken} bytes of {streamable}): {logger(trt).reason()}"
        )
