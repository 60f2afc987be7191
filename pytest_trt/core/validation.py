"""Check the fields of frozen records, parse shares, and suggest the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pytest_trt.core import codec
from pytest_trt.errors import DeclarationError, RecordError


def set_fields(record: Any, **values: Any) -> None:
    """Set fields of a frozen record, for use in its `__post_init__`."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def check_fields(record: Any, where: str) -> None:
    """Convert every field of a frozen record to its annotated type, in place.

    Raises:
        DeclarationError: A field does not have its type. The message names `where` and the field.
    """
    try:
        for name, kind in codec.field_types(record).items():
            set_fields(record, **{name: codec.check(kind, getattr(record, name), f"{where}: {name}")})
    except RecordError as error:
        raise DeclarationError(str(error)) from None


def suggest(name: Any, names: Iterable[str], otherwise: str) -> str:
    """Return the end of an error message about an unknown name: a question that suggests the most similar name.

    Args:
        name: The unknown name.
        names: The valid names.
        otherwise: The text to return if no valid name is similar.
    """
    near = difflib.get_close_matches(str(name), list(names), 1)
    return f"did you mean {near[0]!r}?" if near else otherwise


def parse_share(value: Any, where: str, *, below: float = 1.0) -> float | None:
    """Return a share as a fraction. It may be written as 0.03, "0.03" or "3%"; None stays None.

    Args:
        value: The share.
        where: The start of error messages.
        below: The share that the value must be smaller than. A share of 1 or more must be written with a percent sign.

    Raises:
        DeclarationError: The value is not a share from 0 to below `below`. The message starts with `where`.
    """
    if value is None:
        return None
    text = str(value).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise DeclarationError(f"{where} is {value!r}: write a share such as '3%' or 0.03") from None
    has_sign = "%" in text
    if isinstance(value, bool) or not 0 <= share < (below if has_sign else 1.0):
        lacks_sign = 1 <= share <= 100 and not has_sign
        limit = f"{100 * below:g}%"
        hint = f"did you mean '{text}%'?" if lacks_sign else f"it must be from 0 to below 1, or below '{limit}'"
        raise DeclarationError(f"{where} is {value!r}: {hint}")
    return share
