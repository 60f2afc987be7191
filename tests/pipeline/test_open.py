"""Test which engines can run the steps of a generation."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from pytest_trt.engine.roles import Roles
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError
from pytest_trt.pipeline.generation import Phase
from pytest_trt.pipeline.open import open_steps
from pytest_trt.spec.declaration import PipelineOptions


class ProfilesItself:
    """What `open_steps` reads of an engine of ONNX Runtime on a GPU before anything is on a GPU."""

    kind: Literal["device"] = "device"
    inputs = (Tensor("ids", "int64", (1, -1)), Tensor("past", "float32", (1, -1, 4)))
    outputs = (Tensor("logits", "float32", (1, -1, 9)), Tensor("present", "float32", (1, -1, 4)))

    def profile(self, inputs: Any, runs: int) -> Any:
        raise NotImplementedError

    def memory(self, shapes: Any, contexts: int, io: int) -> Any:
        raise NotImplementedError


def test_onnx_runtime_on_a_gpu_refuses_the_steps_of_a_growing_cache() -> None:
    roles, engine = Roles("ids", (), (), (), "logits"), ProfilesItself()
    first, last = ({"ids": (1, 1), "past": (1, fill, 4)} for fill in (5, 9))
    reading, decoding = Phase(roles, first, first, 1), Phase(roles, first, last, 5)
    with pytest.raises(BackendError, match="steps of a growing cache cannot be timed: use a cache of a fixed capacity"):
        open_steps(engine, engine, reading, decoding, {"present": "past"}, PipelineOptions())  # type: ignore[arg-type]
