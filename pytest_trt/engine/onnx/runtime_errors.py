"""Readable messages of ONNX Runtime's errors."""

from __future__ import annotations

import re

_CODES = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed: ?)?(/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z]))?"
)
"""The start of a message: the error's code, the file that was loaded, and a position in ONNX Runtime's source."""

_FAILED_NODE = re.compile(r"^Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: ")


def readable_message(error: Exception) -> str:
    """Return ONNX Runtime's message without its codes.

    If the message names the node that failed, its operator and name stay at the start: `Gather /emb/Gather: ...`.
    """
    message = _CODES.sub("", str(error).strip())
    message = _FAILED_NODE.sub(lambda match: " ".join(filter(None, match.groups())) + ": ", message)
    return message or type(error).__name__
