"""Find out where an input or output lies, and in which of TensorRT's formats.

The bindings of the lean and dispatch runtimes lack the type TensorFormat, and those of version 8.6 also TensorLocation.
A call that would return one of these types raises TypeError there. The runtimes do describe the format in words, from
which this module derives its name.
"""

from __future__ import annotations

import re
from typing import Any

LINEAR = "linear"
_WIDE = {"Two": 2, "Four": 4, "Sixteen": 16, "Thirty-two": 32}
_CHANNELS_LAST = (
    r"(?:Channel major|Non-vectorized channel-last)(?: \w+)? format"
    r"(?: where (?:channel|C) % (\d+) == 0| with \d spatial dimensions)*"
)


def is_on_host(trt: Any, engine: Any, name: str) -> bool:
    """Return whether the host reads or writes that input or output, as it does a shape tensor."""
    if hasattr(trt, "TensorLocation"):
        return bool(engine.get_tensor_location(name) == trt.TensorLocation.HOST)
    return bool(engine.is_shape_inference_io(name))


def format_name(trt: Any, engine: Any, name: str) -> str:
    """Return the name of the format of that input or output.

    Returns:
        TensorRT's name in lower case, such as `linear` or `chw4`; TensorRT's description if no name matches it. A
        format without a description counts as linear if it has no vectors.
    """
    if hasattr(trt, "TensorFormat"):
        return str(engine.get_tensor_format(name).name).lower()
    words = engine.get_tensor_format_desc(name)
    if not words and engine.get_tensor_vectorized_dim(name) == -1:
        return LINEAR
    return parse_format_description(words or "unknown")


def parse_format_description(words: str) -> str:
    """Return the name of the format that TensorRT describes with `words`.

    The descriptions are those of versions 8.6 to 10.16; newer ones contain the name. If a description says more than a
    name can, such as a stride, it is returned unchanged.
    """
    if found := re.search(r"\(k(\w+)\)", words):
        return found[1].lower()
    deep = "d" if "3 spatial dimensions" in words else ""
    if words.startswith("Row major linear"):
        return LINEAR
    found = re.match(r"(\S+) wide channel vectorized row major", words)
    if found and found[1] in _WIDE:
        return f"c{deep}hw{_WIDE[found[1]]}"
    if found := re.fullmatch(_CHANNELS_LAST, words):
        return f"{deep}hwc{found[1] or ''}"
    return words
