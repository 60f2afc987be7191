"""Plan a generation: the shapes of its steps, and the tokens of its prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.arrays import refuse_masked
from pytest_trt.engine.inputs import generate_inputs
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.model.shapes import resolve_shapes
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.engine.roles import check_declared_roles
from pytest_trt.engine.state import State, check_write_index, kept_state, prompt_state, resolve_state
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import DeclarationError, InputError, ModelError
from pytest_trt.measure.engine_probe import GenerationInputs
from pytest_trt.measure.probe.generations import GenerationJob
from pytest_trt.pipeline.generation import Phase
from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.generation_sizes import Part, StepSizes, has_dim, roles_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays


def plan_inputs(
    model: Model,
    prompt_model: Model | None,
    declaration: Declaration,
    prompt: Any,
    steps: int,
    build: Callable[[Declaration], tuple[ProvidedEngine, EngineSpec]],
) -> GenerationInputs:
    """Return what a probe generates.

    Args:
        model: The model that runs the steps.
        prompt_model: The model that reads the prompt; None for the same.
        declaration: The declaration of the test.
        prompt: The tokens, of shape (tokens,) or (batch, tokens); or their number, to draw them from the seed.
        steps: The number of tokens to generate.
        build: Builds the model that reads the prompt, and returns its engine and its spec with resolved files.

    Raises:
        DeclarationError: See `prompt_tokens` and `plan_generation`, which raise the other errors too.
    """
    decoder = Part(model, declaration.spec, declaration.run)
    tokens = prompt_tokens(prompt, decoder)
    if prompt_model is None:
        return GenerationInputs(*plan_generation(decoder, None, tokens, steps))
    part = prompt_part(decoder, prompt_model, tokens.shape)
    job, arrays = plan_generation(decoder, part, tokens, steps)
    engine, spec = build(dataclasses.replace(declaration, spec=part.spec, run=part.run, generation=None))
    job = dataclasses.replace(job, prefill=str(engine.plan), prefill_spec=spec.without_functions)
    return GenerationInputs(job, arrays, str(prompt_model.path), engine.plan_sha256, engine.built)


def plan_generation(
    decoder: Part, reader: Part | None, tokens: NDArray[Any], steps: int
) -> tuple[GenerationJob, Arrays]:
    """Return what a probe generates, with the model of the prompt still to be named, and its arrays.

    Args:
        decoder: The model that runs the steps.
        reader: The model that reads the prompt; None for the same.
        tokens: The prompt, of shape (batch, tokens).
        steps: The number of tokens to generate.

    Raises:
        DeclarationError: There are no steps.
        InputError: The tokens exceed the capacity of the state.
        ModelError: A model has no tokens or no logits, lacks state, or is not built for so many tokens.
    """
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):
        raise DeclarationError(f"generate: steps is {steps!r}: give a whole number of tokens")
    if (steps := int(steps)) < 1:
        raise DeclarationError(f"generate: steps is {steps}: generate at least 1 token")
    first = reader or decoder
    state = resolve_state(decoder.spec.state, decoder.model.inputs, decoder.model.outputs)
    prompt_state(state, first.model.inputs, first.model.outputs)
    kept = kept_state(decoder.spec.state, state, decoder.model.inputs, first.model.outputs)
    models = (decoder.model, first.model)
    check_declared_roles(decoder.spec, {t.name for model in models for t in (*model.inputs, *model.outputs)})
    roles, first_roles = (roles_of(part, decoder, (*state, *kept)) for part in (decoder, first))
    (batch, count), more = tokens.shape, steps - 1
    what = f"{count} tokens of a prompt and {steps} generated ones"
    whole = StepSizes(first, first_roles, decoder, state, what, has_reader=reader is not None).shapes(batch, count, 0)
    reading = Phase(first_roles, whole, whole, steps=1)
    sizes = StepSizes(decoder, roles, decoder, state, what, has_reader=reader is not None)
    step = sizes.shapes(batch, 1, count if more else 0)
    decoding = Phase(roles, step, sizes.shapes(batch, 1, count + more - 1) if more else step, steps=more)
    written = dict.fromkeys(decoder.spec.write_index, (0, count + more - 1))
    check_write_index(decoder.spec, state, decoding.first, written)
    constants = _constants(first, reading, decoder, decoding)
    return GenerationJob(reading, decoding), {first_roles.tokens: tokens, **constants}


def _all_state(decoder: Part, reader: Model) -> State:
    """Return the pairs of a decoder, and those that a model that reads the prompt hands to it for good."""
    state = resolve_state(decoder.spec.state, decoder.model.inputs, decoder.model.outputs)
    return (*state, *kept_state(decoder.spec.state, state, decoder.model.inputs, reader.outputs))


def prompt_part(decoder: Part, model: Model, shape: Sequence[int]) -> Part:
    """Return the model that reads the prompt, with the decoder's spec as far as the model has its names.

    It is built for prompts of this length.

    Args:
        decoder: The model that runs the steps.
        model: The model that reads the prompt.
        shape: The shape of the prompt.
    """
    spec, prompt = decoder.spec, shape[-1]
    inputs = {tensor.name for tensor in model.inputs}
    names = inputs | {tensor.name for tensor in model.outputs}
    dims = {name: ranges for name, ranges in spec.dims.items() if has_dim(model, name)}
    roles = roles_of(Part(model, spec, decoder.run), decoder, _all_state(decoder, model))
    run = {name: size for name, size in decoder.run.dims.items() if has_dim(model, name)}
    sequence = (model.dims[roles.tokens] or (None,))[-1]
    if isinstance(sequence, str):
        low, _, high = dims.get(sequence, ((prompt, prompt, prompt),))[0]
        dims[sequence] = ((low, prompt, high) if low <= prompt <= high else (prompt, prompt, prompt),)
        run[sequence] = prompt
    spec = dataclasses.replace(
        spec,
        path=str(model.path),
        onnx=None,
        build=None,
        state={},
        write_index={},
        roles={},
        dims=dims,
        shapes={name: ranges for name, ranges in spec.shapes.items() if name in inputs},
        input_ranges={name: ends for name, ends in spec.input_ranges.items() if name in inputs},
        io_dtypes={name: kind for name, kind in spec.io_dtypes.items() if name in names},
        io_formats={name: kind for name, kind in spec.io_formats.items() if name in names},
    )
    return Part(model, spec, RunShape(batch=decoder.run.batch, dims=run))


def prompt_tokens(prompt: int | Sequence[Any] | NDArray[Any], decoder: Part) -> NDArray[Any]:
    """Return the tokens of a prompt, of shape (batch, tokens).

    Args:
        prompt: The tokens, of shape (tokens,) or (batch, tokens); or their number, to draw them from the seed.
        decoder: The model that runs the steps.

    Raises:
        DeclarationError: The test declares no state.
        InputError: The prompt is no array of tokens of the model.
        ModelError: The model has no tokens or no logits.
    """
    import numpy as np

    if not decoder.spec.state:
        raise DeclarationError(
            "generate needs state, which the steps hand on: name it in trt_engine, as in state={'present_*': 'past_*'}"
        )
    roles = roles_of(decoder, decoder, _all_state(decoder, decoder.model))
    logits = next(tensor for tensor in decoder.model.outputs if tensor.name == roles.logits)
    vocabulary = logits.shape[-1]
    if isinstance(prompt, (int, np.integer)) and not isinstance(prompt, bool):
        if prompt < 1:
            raise InputError(f"generate: the prompt has {prompt} tokens: give at least 1")
        shape = resolve_shapes(decoder.model, decoder.spec, decoder.run).run[roles.tokens]
        batch = shape[0] if len(shape) == 2 else 1
        ends = decoder.spec.input_ranges.get(roles.tokens, (0, vocabulary - 1 if vocabulary > 0 else 1))
        tensor = Tensor(roles.tokens, "int64", (batch, int(prompt)))
        return generate_inputs([tensor], decoder.spec.seed, {roles.tokens: ends})[roles.tokens]
    try:
        tokens = np.asarray(prompt)
    except ValueError as error:
        raise InputError("generate: the prompt is no array of tokens: give texts of one length") from error
    except (TypeError, RuntimeError) as error:  # PyTorch's errors about a tensor that is not on the host
        raise InputError(f"generate: the prompt is no array of tokens on the host: {error}") from error
    refuse_masked("the prompt", prompt)
    tokens = tokens[None] if tokens.ndim == 1 else tokens
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.size:
        raise InputError(
            f"generate: the prompt is an array of {tokens.dtype.name} with the shape {tokens.shape}: give token ids of "
            "the shape (tokens,) or (batch, tokens), or a number of tokens"
        )
    if vocabulary > 0 and not (tokens.min() >= 0 and tokens.max() < vocabulary):
        beyond = int(tokens.max() if tokens.max() >= vocabulary else tokens.min())
        raise InputError(
            f"generate: the prompt holds the token {beyond}, but the model has tokens 0 to {vocabulary - 1}"
        )
    return tokens


def _constants(reader: Part, reading: Phase, decoder: Part, decoding: Phase) -> dict[str, Any]:
    """Return the inputs that are the same in every step, generated from the seed."""
    wanted: dict[str, Tensor] = {}
    for part, phase in ((decoder, decoding), (reader, reading)):
        for tensor in part.model.inputs:
            if tensor.name in phase.roles.others:
                shape = tuple(phase.first[tensor.name])
                known = wanted.setdefault(tensor.name, dataclasses.replace(tensor, shape=shape))
                if known.shape != shape or phase.last[tensor.name] != shape:
                    raise ModelError(
                        f"generate: the shape of input {tensor.name!r} changes with the number of tokens, and nothing "
                        f"says what it is for: declare it, as in trt_engine(roles={{{tensor.name!r}: 'mask'}})"
                    )
    ranges = {name: ends for name, ends in decoder.spec.input_ranges.items() if name in wanted}
    for name in {*reading.roles.ones, *decoding.roles.ones} - ranges.keys():
        added = wanted[name].dtype.startswith(("float", "bfloat")) and len(wanted[name].shape) > 2
        ranges[name] = (0, 0) if added else (1, 1)
    return dict(generate_inputs(wanted.values(), decoder.spec.seed, ranges))
