"""Messages of onnx, ONNX Runtime and converters: shortened, without codes, and collected instead of printed."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator

_MAX_LENGTH = 500

_CODES = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed: ?)?(/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z]))?"
)
"""The start of ONNX Runtime's messages: the error's code, the file that was loaded, and a position in its source."""

_FAILED_NODE = re.compile(r"^Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: ")


def readable_message(error: Exception) -> str:
    """Return the message of ONNX Runtime's `error` without its codes.

    If the message names the node that failed, its operator and name stay at the start: `Gather /emb/Gather: ...`.
    """
    message = _CODES.sub("", str(error).strip())
    message = _FAILED_NODE.sub(lambda match: " ".join(filter(None, match.groups())) + ": ", message)
    return message or type(error).__name__


def shorten(error: Exception | str) -> str:
    """Return another package's message, cut to a length that fits into a message of ours."""
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 3] + "..."


@contextlib.contextmanager
def capture_warnings() -> Iterator[list[str]]:
    """Collect the warnings of other packages in a list instead of printing them, and silence their logging.

    The list is filled when the block ends.
    """
    messages: list[str] = []
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        logging.disable(logging.ERROR)
        try:
            yield messages
        finally:
            logging.disable(disabled)
            root.handlers[:] = handlers  # logging.warning() adds a handler to a root logger that has none
            messages += dict.fromkeys(str(warning.message) for warning in caught)
