"""What `trt_generate` declares: a whole generation, from a prompt to its last token."""

from __future__ import annotations

import dataclasses
import os
from typing import Literal

from pytest_trt.core.validation import check_fields, set_fields
from pytest_trt.errors import DeclarationError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """How tokens are generated in a measurement.

    Attributes:
        prompt: The number of tokens of the prompt, which are drawn from the seed.
        steps: The number of tokens to generate. The first comes from the prompt, each other one from a step.
        prefill: The path of the model that reads the prompt. None means the test's own model, at a longer sequence.
        sampler: How a token is chosen: `greedy` takes the one with the largest logit.
    """

    prompt: int = 0
    steps: int = 0
    prefill: str | None = None
    sampler: Literal["greedy"] = "greedy"

    def __post_init__(self) -> None:
        if isinstance(self.prefill, os.PathLike):
            set_fields(self, prefill=os.fspath(self.prefill))
        check_fields(self, "trt_generate")
        for name in ("prompt", "steps"):
            if getattr(self, name) < 1:
                raise DeclarationError(f"trt_generate: {name} is {getattr(self, name)}: give a number of tokens from 1")
