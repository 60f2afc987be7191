"""Judge generated tokens against those of a reference: the first that differs, and the logits there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_trt.core.records import Verdict
from pytest_trt.judge.accuracy.norms import root_mean_square

if TYPE_CHECKING:
    from pytest_trt.judge.accuracy.allowed_error import AccuracyLimits
    from pytest_trt.judge.accuracy.norms import Array


def judge_tokens(
    tokens: Array, logits: Array, expected: Array, expected_logits: Array, limits: AccuracyLimits, source: str
) -> Verdict:
    """Return the verdict of greedily generated tokens.

    Up to the first token that differs, both texts are the same, so that the logits there can be compared. If they are
    so close in the reference that the allowed error may exchange them, either token is right, and what follows is
    another text.

    Args:
        tokens: The tokens, of shape (batch, steps).
        logits: The logits of each token, of shape (steps, batch, vocabulary).
        expected: The tokens of the reference.
        expected_logits: The logits of the reference.
        limits: The error that is allowed for a logit.
        source: What the reference is, as text.
    """
    count = tokens.shape[1]
    differing = (tokens != expected).any(axis=0).nonzero()[0]
    if not differing.size:
        return Verdict("ok", "accuracy", "tokens", f"all {count} tokens are those of {source}")
    step = int(differing[0])
    text = int((tokens[:, step] != expected[:, step]).nonzero()[0][0])
    ours, theirs = logits[step, text].astype(float), expected_logits[step, text].astype(float)
    found, wanted = int(tokens[text, step]), int(expected[text, step])
    scale = root_mean_square(theirs.reshape(-1)) if limits.atol_scaled else 1.0
    allowed = limits.atol * scale + limits.rtol * abs(theirs[wanted])
    gap = theirs[wanted] - theirs[found]
    where = f"token {step + 1} of {count}" + (f" of text {text}" if len(tokens) > 1 else "")
    values = (
        f"logits there: {found} has {ours[found]:.5g} ({source}: {theirs[found]:.5g}), {wanted} has "
        f"{ours[wanted]:.5g} ({source}: {theirs[wanted]:.5g})"
    )
    if gap <= 2 * allowed:  # each of the two logits may be off by the allowed error
        message = (
            f"the first {step} tokens are those of {source}; {where} is {found} instead of {wanted}, which are as good "
            f"as equal: they are {gap:.3g} apart, and {2 * allowed:.3g} is within the allowed error"
        )
        return Verdict("ok", "accuracy", "tokens", message, details=(values,))
    message = (
        f"{where} is {found}, but {source} has {wanted}: they are {gap:.3g} apart there, {2 * allowed:.3g} allowed"
    )
    return Verdict("inaccurate", "accuracy", "tokens", message, details=(values,))
