"""Test how a generation is planned from the models' dimensions and names. tests/integration runs generations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from decoders import Cache, decoder

from pytest_trt.engine.model.model import read_model
from pytest_trt.errors import InputError
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.generation import Part, plan_generation, prompt_part, prompt_tokens

DIMS = {"P": (0, 8, 64), "S": (1, 1, 32), "T": (1, 9, 96)}


def part(folder: Path, cache: Cache, logits: str = "logits", **more: object) -> Part:
    """Return a model with its spec; its logits have another name if `logits` does."""
    model = decoder(cache=cache, capacity=48, **more)  # type: ignore[arg-type]
    model.graph.output[0].name = logits
    for node in model.graph.node:
        node.output[:] = [logits if name == "logits" else name for name in node.output]
    onnx.save(model, str(folder / f"{cache}.onnx"))
    dims = {name: DIMS[name] for name in ("S", *("PT" if more.get("mask") else "P" if cache == "growing" else ""))}
    spec = EngineSpec(
        path=str(folder / f"{cache}.onnx"),
        state={"present_*": "past_*"},
        dims=dims,  # type: ignore[arg-type]
        **({"write_index": "position"} if cache == "fixed" else {}),  # type: ignore[arg-type]
    )
    return Part(read_model(folder / f"{cache}.onnx"), spec, RunShape())


def test_the_shapes_of_a_growing_cache_follow_the_tokens(tmp_path: Path) -> None:
    found = part(tmp_path, "growing", mask=True)
    job, arrays = plan_generation(found, None, np.zeros((1, 20), np.int64), 11)
    assert (job.reading.steps, job.decoding.steps) == (1, 10)
    named = ("input_ids", "attention_mask", "past_k_0")
    assert [job.reading.first[name] for name in named] == [(1, 20), (1, 20), (1, 2, 0, 8)]
    assert [job.decoding.first[name] for name in named] == [(1, 1), (1, 21), (1, 2, 20, 8)]
    assert [job.decoding.last[name] for name in named] == [(1, 1), (1, 30), (1, 2, 29, 8)]
    assert list(arrays) == ["input_ids"]


def test_a_single_token_needs_no_step(tmp_path: Path) -> None:
    job, _ = plan_generation(part(tmp_path, "growing"), None, np.zeros((1, 20), np.int64), np.int64(1))  # type: ignore[arg-type]
    assert job.decoding.steps == 0


@pytest.mark.parametrize("logits", ["logits", "scores"])
def test_the_model_of_a_prompt_is_built_for_its_length(tmp_path: Path, logits: str) -> None:
    decoding = part(tmp_path, "growing", logits)
    model = part(tmp_path, "none", logits).model
    reading = prompt_part(decoding, model, (1, 20))
    assert reading.spec.dims == {"S": ((1, 20, 32),)}
    assert reading.spec.state == {}
    assert prompt_part(decoding, model, (1, 40)).spec.dims == {"S": ((40, 40, 40),)}
    job, _ = plan_generation(decoding, reading, np.zeros((1, 20), np.int64), 4)
    assert job.reading.roles.logits == job.decoding.roles.logits == logits
    assert job.reading.first == {"input_ids": (1, 20)}


def test_a_prompt_of_a_number_of_tokens_is_drawn_from_the_vocabulary(tmp_path: Path) -> None:
    found = part(tmp_path, "growing")
    tokens = prompt_tokens(30, found)
    assert tokens.shape == (1, 30)
    assert len(np.unique(tokens)) > 10
    assert 0 <= tokens.min() <= tokens.max() <= 60
    assert (prompt_tokens(30, found) == tokens).all()
    assert prompt_tokens(np.int64(3), found).shape == (1, 3)
    assert prompt_tokens([1, 2], found).tolist() == [[1, 2]]


def test_the_last_write_must_lie_within_the_capacity(tmp_path: Path) -> None:
    found = part(tmp_path, "fixed")
    plan_generation(found, None, np.zeros((1, 20), np.int64), 29)  # writes entries 0 to 47
    with pytest.raises(InputError, match="the write index 'position' is 48, but the state holds 48 entries"):
        plan_generation(found, None, np.zeros((1, 20), np.int64), 30)
