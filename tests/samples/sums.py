"""A decoder whose tokens are easy to predict: each is a sum of sums of the tokens before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY = 31
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def sums(
    *,
    mask: int = FLOAT,
    mask_dims: Sequence[Any] = ("B", 1, "S", "P + S"),
    names: Sequence[Any] = ("B", "S", "P", "P + S"),
    batched: bool = True,
    crossing: str = "",
) -> onnx.ModelProto:
    """Return a model with a growing cache: what a token may read, its mask says.

    The second of two sums is taken over the first, so that a token that reads those after it changes the result.

    Args:
        mask: The type of the mask. A mask of floats is added to scores, so it is 0 where a token may read.
        mask_dims: The dimensions of the mask.
        names: Those of the batch, of the tokens, of the cache before a step, and of the cache after it.
        batched: Whether tokens and logits have a batch.
        crossing: `reads` adds the input `past.cross`, which the step does not write; `writes` adds the output
            `present.cross`, which is 12 whatever the input `encoded` is, and no caches are read.
    """
    batch, new, past, present = names
    nodes: list[onnx.NodeProto] = []

    def node(op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output or f"v{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    ids = node("Cast", "input_ids", to=FLOAT)
    ids = ids if batched else node("Unsqueeze", ids, "zero_at")
    allowed = node("Cast", "attention_mask", to=FLOAT)
    if mask in (FLOAT, TensorProto.FLOAT16):
        allowed = node("Cast", node("GreaterOrEqual", allowed, "zero"), to=FLOAT)
    allowed = node("Squeeze", allowed, "one_at") if len(mask_dims) == 4 else allowed
    caches, one = ("first", "second"), ids
    for cache in caches:
        read = node("Identity", one) if crossing == "writes" else node("Concat", f"past.{cache}", one, axis=1)
        node("Identity", read, output=f"present.{cache}")
        one = node("Squeeze", node("MatMul", allowed, node("Unsqueeze", read, "two_at")), "two_at")
        one = node("Mod", one, "vocabulary", fmod=1)
    if crossing == "reads":
        one = node("Add", one, "past.cross")
    elif crossing:
        twelve = node("Add", node("Mul", "encoded", "nothing"), "twelve", output="present.cross")
        one = node("Add", one, twelve)
    rows = node("Unsqueeze", node("Mod", one, "vocabulary", fmod=1), "two_at")
    logits = node("Neg", node("Abs", node("Sub", rows, "tokens")))
    node("Identity" if batched else "Squeeze", logits, *(() if batched else ("zero_at",)), output="logits")

    value, text = helper.make_tensor_value_info, (batch,) if batched else ()
    inputs = [value("input_ids", INT64, (*text, new)), value("attention_mask", mask, mask_dims)]
    outputs = [value("logits", FLOAT, (*text, new, VOCABULARY))]
    for cache in caches:
        outputs.append(value(f"present.{cache}", FLOAT, (batch if batched else 1, present)))
        if crossing != "writes":
            inputs.append(value(f"past.{cache}", FLOAT, (batch if batched else 1, past)))
    if crossing == "reads":
        inputs.append(value("past.cross", FLOAT, (batch, 1)))
    elif crossing:
        inputs.append(value("encoded", FLOAT, (batch, 1)))
        outputs.append(value("present.cross", FLOAT, (batch, 1)))
    weights: dict[str, Any] = {
        "zero": np.float32(-0.5), "nothing": np.float32(0), "twelve": np.float32(12),
        "vocabulary": np.float32(VOCABULARY),
        "tokens": np.arange(VOCABULARY, dtype=np.float32),
        **{f"{name}_at": np.array([axis]) for axis, name in enumerate(("zero", "one", "two"))},
    }  # fmt: skip
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "sums", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tokens_of_sums(prompt: Sequence[int], steps: int, added: int = 0) -> list[int]:
    """Return the tokens that the model generates, if `added` is what it adds to each sum."""
    tokens = list(prompt)
    for _ in range(steps):
        tokens.append(int(np.cumsum(np.cumsum(tokens) % VOCABULARY)[-1] + added) % VOCABULARY)
    return tokens[len(prompt) :]
