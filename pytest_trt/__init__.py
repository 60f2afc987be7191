"""pytest-trt: performance regression testing of TensorRT engines, as a pytest plugin.

The public names load when they are first used, so that a pytest run which measures nothing pays nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pytest_trt.errors import TrtError as TrtError
    from pytest_trt.records import Environment as Environment
    from pytest_trt.records import Estimate as Estimate
    from pytest_trt.records import LayerProfile as LayerProfile
    from pytest_trt.records import Measurement as Measurement
    from pytest_trt.records import Result as Result
    from pytest_trt.records import Verdict as Verdict
    from pytest_trt.spec import EngineSpec as EngineSpec
    from pytest_trt.spec import PipelineOptions as PipelineOptions
    from pytest_trt.spec import RunShape as RunShape
    from pytest_trt.trial import Trial as Trial

_ROOMS = {
    "TrtError": "errors",
    "Environment": "records",
    "Estimate": "records",
    "LayerProfile": "records",
    "Measurement": "records",
    "Result": "records",
    "Verdict": "records",
    "EngineSpec": "spec",
    "PipelineOptions": "spec",
    "RunShape": "spec",
    "Trial": "trial",
}

__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(f"pytest_trt.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'pytest_trt' has no attribute {name!r}")
