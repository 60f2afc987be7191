"""Functions that a marker references: their names, and calls of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pytest_trt.errors import TrtError


def function_name(function: Any) -> str:
    """Return the name of a callable. It is the same in every run.

    A `functools.partial` has the name of its function. Any other object without a name has the name of its class.
    Arguments bound to a partial are not part of the name, just as the variables of a closure are not.
    """
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def call_user_function(
    marker: str, argument: str, error_type: type[TrtError], function: Callable[..., Any], *args: Any
) -> Any:
    """Call a function that a marker references, and return its result.

    Args:
        marker: The name of the marker, for the error message.
        argument: The argument of the marker that references the function, for the error message.
        error_type: The error to raise if the function fails.
        function: The function to call.
        *args: The positional arguments of the call.

    Raises:
        TrtError: The function raised an exception. A `TrtError` is raised unchanged. Any other exception, including
            `SystemExit`, becomes an `error_type` whose message repeats the type and the message of the exception.
    """
    try:
        return function(*args)
    except TrtError:
        raise
    except (Exception, SystemExit) as error:
        raised = f"{type(error).__name__}: {error}"
        raise error_type(f"{marker}({argument}={function_name(function)}): the function raised {raised}") from error
