"""pytest-trt: performance regression testing of TensorRT engines, as a pytest plugin.

The public names are imported when they are first used, so that pytest starts as fast as without the plugin.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pytest_trt.core.version import __version__

if TYPE_CHECKING:
    from pytest_trt.core.records import Environment as Environment
    from pytest_trt.core.records import Estimate as Estimate
    from pytest_trt.core.records import LayerProfile as LayerProfile
    from pytest_trt.core.records import Measurement as Measurement
    from pytest_trt.core.records import Result as Result
    from pytest_trt.core.records import Verdict as Verdict
    from pytest_trt.errors import TrtError as TrtError
    from pytest_trt.pipeline.generation import Generated as Generated
    from pytest_trt.spec.declaration import PipelineOptions as PipelineOptions
    from pytest_trt.spec.declaration import RunShape as RunShape
    from pytest_trt.spec.engine_spec import EngineSpec as EngineSpec
    from pytest_trt.trial.trial import Trial as Trial

_MODULES = {
    "TrtError": "errors",
    "Environment": "core.records",
    "Estimate": "core.records",
    "LayerProfile": "core.records",
    "Measurement": "core.records",
    "Result": "core.records",
    "Verdict": "core.records",
    "Generated": "pipeline.generation",
    "EngineSpec": "spec.engine_spec",
    "PipelineOptions": "spec.declaration",
    "RunShape": "spec.declaration",
    "Trial": "trial.trial",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"pytest_trt.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'pytest_trt' has no attribute {name!r}")
