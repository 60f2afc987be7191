"""Types of command-line arguments: numbers that are checked when they are parsed."""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable
from typing import Any


def _number(text: str, description: str, kind: Callable[[str], float], is_valid: Callable[[float], bool]) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not is_valid(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {description}")
    return value


count = functools.partial(_number, description="a whole number of 1 or more", kind=int, is_valid=lambda n: n >= 1)
seed = functools.partial(_number, description="a whole number of 0 or more", kind=int, is_valid=lambda n: n >= 0)
time = functools.partial(
    _number, description="a time above 0, such as 10", kind=float, is_valid=lambda t: 0 < t < math.inf
)
share = functools.partial(
    _number, description="a share such as 0.01 (for 1 %)", kind=float, is_valid=lambda s: 0 <= s < 1
)
