"""Functions that a marker names: what they are called, and what calling them gives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pytest_trt.errors import TrtError


def function_name(function: Any) -> str:
    """What a callable is called, the same in every run: a partial as its function, and an object by its class. What is
    bound to it shows no more than what a closure holds."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def call_user_function(
    marker: str, argument: str, wrong: type[TrtError], function: Callable[..., Any], *given: Any
) -> Any:
    """What the function gives that this argument of the marker names. Raises `wrong`, with its words, where it raises;
    a TrtError passes through."""
    try:
        return function(*given)
    except TrtError:
        raise
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}"
        raise wrong(f"{marker}({argument}={function_name(function)}): the function raised {said}") from error
