"""Test `trt_generate` and `trt_runner.generate` with ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from decoders import Cache, decoder
from samples.models import layers_model
from samples.pytest_runs import error_of_each_test
from samples.sums import sums, tokens_of_sums

HEAD = """
import numpy as np
import pytest

STATE = {"present_*": "past_*"}
DIMS = {"P": (0, 8, 64), "S": (1, 1, 16), "B": (1, 1, 2)}
growing = pytest.mark.trt_engine("growing.onnx", state=STATE, dims=dict(DIMS))
del DIMS["P"]
fixed = pytest.mark.trt_engine("fixed.onnx", state=STATE, write_index="position", dims=DIMS)
"""


@pytest.fixture
def decoders(project: pytest.Pytester) -> pytest.Pytester:
    for name, cache in (("growing", "growing"), ("fixed", "fixed"), ("prefill", "none")):
        model = decoder(cache=cache, capacity=32, batch="B")  # type: ignore[arg-type]
        onnx.save(model, str(project.path / f"{name}.onnx"))
    return project


def tokens_of(prompt: list[list[int]], steps: int) -> list[list[int]]:
    """Return the tokens of a model without caches, which reads the whole text again for each token."""
    session = onnxruntime.InferenceSession(
        decoder(cache="none", batch="B").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    tokens = np.array(prompt)
    for _ in range(steps):
        logits = session.run(["logits"], {"input_ids": tokens})[0]
        tokens = np.concatenate([tokens, logits[:, -1].argmax(-1)[:, None]], axis=1)
    found: list[list[int]] = tokens[:, len(prompt[0]) :].tolist()
    return found


def test_tokens_are_those_of_a_model_that_reads_the_whole_text_again(decoders: pytest.Pytester) -> None:
    prompt = [[3, 5, 7], [9, 4, 2]]
    decoders.makepyfile(
        HEAD
        + f"PROMPT = {prompt}\nEXPECTED = {tokens_of(prompt, 9)}\n"
        + """
@growing
def test_growing(trt_runner):
    for prefill in (None, "prefill.onnx"):
        generated = trt_runner.generate(PROMPT, 9, prefill)
        assert generated.tokens.tolist() == EXPECTED
        assert len(generated.step_ms) == 8 and min(generated.step_ms) > 0 and generated.ttft_ms > 0
        assert generated.state_bytes == 4 * 2 * 2 * (3 + 8) * 8 * 4
    assert trt_runner.generate(PROMPT[0], 1).tokens.tolist() == [EXPECTED[0][:1]]
    assert trt_runner.generate(16, 2).tokens.shape == (1, 2)

@fixed
def test_fixed(trt_runner):
    assert trt_runner.generate(PROMPT, 9).tokens.tolist() == EXPECTED
    assert trt_runner.generate(PROMPT, 30).tokens.shape == (2, 30)
"""
    )
    decoders.runpytest_inprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize("cache", ["growing", "fixed"])
def test_masks_and_positions_are_filled(decoders: pytest.Pytester, cache: Cache) -> None:
    """The mask of a growing cache has a dimension `T`, which counts the tokens before a step and its own."""
    onnx.save(decoder(cache=cache, capacity=32, batch="B", mask=True), str(decoders.path / "masked.onnx"))
    more = 'write_index="position", ' if cache == "fixed" else ""
    dims = {"P": (0, 8, 64)} if cache == "growing" else {}
    decoders.makepyfile(
        HEAD
        + f"""
@pytest.mark.trt_engine("masked.onnx", state=STATE, {more}dims={{**DIMS, **{dims}}})
def test_m(trt_runner):
    masked = trt_runner.generate([[3, 5, 7], [9, 4, 2]], 9).tokens.tolist()
    assert masked == {tokens_of([[3, 5, 7], [9, 4, 2]], 9)}
"""
    )
    decoders.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_generation_has_figures_budgets_a_baseline_and_accuracy(decoders: pytest.Pytester) -> None:
    decoders.makepyfile(
        HEAD
        + """
@growing
@pytest.mark.trt_accuracy()
@pytest.mark.trt_generate(prompt=5, steps=4, prefill="prefill.onnx")
@pytest.mark.trt_budget("cpu", ttft_ms=1e5, itl_ms=1e-5, kv_mb=1)
def test_m(trt_runner):
    measurement = trt_runner.measure()
    assert {"ttft_ms", "itl_ms", "itl_p99_ms", "tokens_s", "kv_mb"} <= set(measurement.figures)
    assert measurement.kv_mb == 4 * 2 * (5 + 3) * 8 * 4 / 1e6
    assert measurement.proof["step by tokens"].count("tokens on") == 3
    assert measurement.spec["prompt"] == "5"
"""
    )
    result = decoders.runpytest_inprocess("--trt-baseline-save", "--trt-baseline-force")
    result.stdout.fnmatch_lines(["*time between tokens over budget: * ms, budget *"])
    found = json.loads((decoders.path / "out.json").read_text())["results"][0]
    statuses = {(verdict["basis"], verdict["figure"]): verdict["status"] for verdict in found["verdicts"]}
    assert statuses["budget", "ttft_ms"] == statuses["budget", "kv_mb"] == "ok"
    assert statuses["budget", "itl_ms"] == "over_budget"
    assert statuses["accuracy", "tokens"] == "ok"


GENERATES = """
@growing
@pytest.mark.trt_generate(prompt=5, steps=4, prefill="prefill.onnx")
def test_m(trt_runner): trt_runner.measure()
"""


def judged(folder: Path) -> dict[tuple[str, str], str]:
    """Return the status of each verdict of the last run's only test, by its basis and its figure."""
    found = json.loads((folder / "out.json").read_text())["results"][0]
    return {(verdict["basis"], verdict["figure"]): verdict["status"] for verdict in found["verdicts"]}


@pytest.mark.way_past("change only the model that reads the prompt", "judged against the baseline")
def test_another_model_for_the_prompt_is_another_engine(decoders: pytest.Pytester) -> None:
    decoders.makepyfile(HEAD + GENERATES)
    decoders.runpytest_inprocess("--trt-baseline-save").assert_outcomes(passed=1)
    decoders.runpytest_inprocess()
    assert judged(decoders.path) == {("baseline", "ms"): "ok"}  # identical
    path = decoders.path / "prefill.onnx"
    onnx.save(decoder(cache="none", batch="B", seed=1), str(path))
    decoders.runpytest_inprocess()
    assert {("baseline", "ttft_ms"), ("baseline", "itl_ms"), ("baseline", "kv_mb")} <= set(judged(decoders.path))


@pytest.mark.way_past(
    "remove `trt_generate` from a test whose baseline has a generation", "`unenforced`; fails with `--trt-strict`"
)
def test_a_generation_that_is_gone_is_reported(decoders: pytest.Pytester) -> None:
    decoders.makepyfile(HEAD + GENERATES)
    decoders.runpytest_inprocess("--trt-baseline-save").assert_outcomes(passed=1)
    decoders.makepyfile(HEAD + GENERATES.replace("@pytest.mark.trt_generate", "#"))
    decoders.runpytest_inprocess("--trt-strict").assert_outcomes(failed=1)
    found = judged(decoders.path)
    assert {found["baseline", name] for name in ("ttft_ms", "itl_ms", "kv_mb")} == {"unenforced"}


@pytest.mark.way_past("limit a figure of a generation, and generate nothing", "`error`")
def test_a_budget_of_a_generation_needs_one(decoders: pytest.Pytester) -> None:
    budget = '@pytest.mark.trt_budget("cpu", tokens_s=1)'
    decoders.makepyfile(HEAD + GENERATES.replace("@pytest.mark.trt_generate", f"{budget} #"))
    result = decoders.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*tokens_s has a budget of 1, but nothing is generated: drop it, or declare trt_gen*"])


@pytest.mark.way_past("declare `trt_generate`, and measure nothing", "`error`")
def test_a_declared_generation_requires_a_measurement(decoders: pytest.Pytester) -> None:
    decoders.makepyfile(HEAD + GENERATES.replace("trt_runner.measure()", "trt_runner.generate(3, 2)"))
    result = decoders.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*trt_generate is declared, but the test measured nothing: call trt_runner.measure()*"]
    )


@pytest.mark.way_past("declare `trt_generate` where it has no effect", "exit status 4")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("(trt_runner): trt_runner.measure()", "(): pass"),
            "*trt_generate: the test does not request trt_runner, so nothing would be measured*",
        ),
        (
            ("@growing", '@pytest.mark.trt_engine("growing.onnx")'),
            "*trt_generate needs state, which the steps hand on*",
        ),
        (("steps=4", "step=4"), "*trt_generate: unknown argument 'step': did you mean 'steps'?*"),
        (("prompt=5, ", ""), "*trt_generate: prompt is 0: give a number of tokens from 1*"),
    ],
)
def test_a_generation_without_effect_is_a_usage_error(
    decoders: pytest.Pytester, change: tuple[str, str], message: str
) -> None:
    decoders.makepyfile(HEAD + GENERATES.replace(*change))
    result = decoders.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_bad_input_is_one_error_each(decoders: pytest.Pytester) -> None:
    onnx.save(layers_model(), str(decoders.path / "layers.onnx"))
    cases = {
        "no_state": ('pytest.mark.trt_engine("growing.onnx", dims={**DIMS, "P": 8})', "generate(4, 4)"),
        "no_tokens": ('pytest.mark.trt_engine("layers.onnx", state={"y": "x"}, dims={"N": 1})', "generate(4, 4)"),
        "long_prompt": ("growing", "generate(17, 4)"),
        "many_steps": ("growing", "generate(16, 60)"),
        "capacity": ("fixed", "generate(16, 18)"),
        "vocabulary": ("growing", "generate([3, 61], 4)"),
        "floats": ("growing", "generate([0.5], 4)"),
        "ragged": ("growing", "generate([[1, 2], [3]], 4)"),
        "empty": ("growing", "generate([], 4)"),
        "no_steps": ("growing", "generate([1], 0)"),
        "half_a_step": ("growing", "generate([1], 1.5)"),
        "masked": ("growing", "generate(np.ma.array([1, 2], mask=[0, 1]), 2)"),
        "other_state": ("fixed", 'generate([1], 2, "prefill.onnx")'),
        "no_prefill": ("growing", 'generate([1], 2, "prefills.onnx")'),
    }
    decoders.makepyfile(
        HEAD
        + "".join(
            f"@{engine}\ndef test_{name}(trt_runner): trt_runner.{call}\n" for name, (engine, call) in cases.items()
        )
    )
    found = error_of_each_test(decoders.runpytest_inprocess())
    expected = {
        "no_state": "DeclarationError: generate needs state, which the steps hand on: name it in trt_engine",
        "no_tokens": "ModelError: generate: layers.onnx must have one input of tokens, which are integers, but none",
        "long_prompt": "InputError: generate: 17 tokens of a prompt and 4 generated ones need S=17, but growing.onnx "
        "is built for 1 to 16",
        "many_steps": "InputError: generate: 16 tokens of a prompt and 60 generated ones need P=74, but growing.onnx "
        "is built for 0 to 64",
        "capacity": "InputError: the write index 'position' is 32, but the state holds 32 entries along axis -2",
        "vocabulary": "InputError: generate: the prompt holds the token 61, but the model has tokens 0 to 60",
        "floats": "InputError: generate: the prompt is an array of float64 with the shape (1, 1): give token ids",
        "ragged": "InputError: generate: the prompt is no array of tokens: give texts of one length",
        "empty": "InputError: generate: the prompt is an array of float64 with the shape (1, 0): give token ids",
        "no_steps": "DeclarationError: generate: steps is 0: generate at least 1 token",
        "half_a_step": "DeclarationError: generate: steps is 1.5: give a whole number of tokens",
        "masked": "InputError: the prompt has masked values, which no engine can read: fill them",
        "other_state": "ModelError: generate: the model that reads the prompt leaves 'past_k_0' with the shape",
        "no_prefill": "ModelError: there is no model 'prefills.onnx' (did you mean 'prefill.onnx'?)",
    }
    assert {name: found[f"test_{name}"][: len(text)] for name, text in expected.items()} == expected


@pytest.fixture
def sums_of_tokens(project: pytest.Pytester) -> pytest.Pytester:
    """A project with decoders that differ in the form of their mask, their dimensions and their caches."""
    models = {
        "added": sums(),
        "bools": sums(mask=onnx.TensorProto.BOOL, mask_dims=("B", "rows", "columns")),
        "alone": sums(mask=onnx.TensorProto.FLOAT16, mask_dims=("S", "P + S"), batched=False),
        "one_name": sums(names=("B", "S", "P", "P"), mask_dims=("B", 1, "S", "T")),
        "unnamed": sums(names=(None,) * 4, mask_dims=(None, 1, None, None)),
        "crossing": sums(crossing="reads"),
        "prompt": sums(crossing="writes", mask_dims=("B", 1, "S", "S"), names=("B", "S", "", "S")),
    }
    for name, model in models.items():
        onnx.save(model, str(project.path / f"{name}.onnx"))
    return project


def test_masks_dimensions_and_caches_may_have_other_forms(sums_of_tokens: pytest.Pytester) -> None:
    dims = {"B": (1, 1, 2), "P": (0, 4, 64), "S": (1, 1, 8)}
    shapes = {
        "input_ids": ((1, 1), (1, 1), (2, 8)),
        "attention_mask": ((1, 1, 1, 1), (1, 1, 1, 5), (2, 1, 8, 72)),
        **{f"past.{name}": ((1, 0), (1, 4), (2, 64)) for name in ("first", "second")},
    }
    spec = {
        "bools": {"dims": {**dims, "rows": (1, 1, 8), "columns": (1, 5, 72)}},
        "alone": {"dims": {"P": (0, 4, 64), "S": (1, 1, 8)}},
        "one_name": {"dims": {**dims, "T": (1, 5, 72)}},
        "unnamed": {"shapes": shapes},
        "crossing": {"dims": dims},
    }
    tests = [
        f"""
@pytest.mark.trt_engine("{name}.onnx", state={{"present.*": "past.*"}}, **{fields})
def test_{name}(trt_runner):
    found = trt_runner.generate({[1, 2, 4] if name == "alone" else [[1, 2, 4], [7, 5, 3]]}, 9, {prefill!r})
    assert found.tokens.tolist() == {[tokens_of_sums([1, 2, 4], 9, added), tokens_of_sums([7, 5, 3], 9, added)]}{cut}
"""
        for name, fields in spec.items()
        for added, prefill in [(12, "prompt.onnx") if name == "crossing" else (0, None)]
        for cut in ["[:1]" if name == "alone" else ""]
    ]
    sums_of_tokens.makepyfile("import pytest\n" + "".join(tests))
    sums_of_tokens.runpytest_inprocess().assert_outcomes(passed=5)


def test_the_number_of_texts_must_be_that_of_the_model(sums_of_tokens: pytest.Pytester) -> None:
    sums_of_tokens.makepyfile(
        """
import pytest

@pytest.mark.trt_engine("alone.onnx", state={"present.*": "past.*"}, dims={"P": (0, 4, 64), "S": (1, 1, 8)})
def test_two(trt_runner): trt_runner.generate([[1, 2], [3, 4]], 2)

@pytest.mark.trt_engine(
    "added.onnx", state={"present.*": "past.*"}, dims={"B": 1, "P": (0, 4, 64), "S": 1}, roles={"mask": "mask"}
)
def test_role(trt_runner): trt_runner.generate([[1]], 2)
"""
    )
    found = error_of_each_test(sums_of_tokens.runpytest_inprocess())
    assert found == {
        "test_two": "ModelError: generate: alone.onnx reads tokens of the shape (2,), but 2 x 2 are to be read: give 1 "
        "texts, or export it with dynamic dimensions",
        "test_role": "ModelError: trt_engine: roles names 'mask': no model of the generation has it: name an input, or "
        "the output of logits",
    }
