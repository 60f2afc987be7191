"""Frozen records that check what they are given: their annotations say what fits."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pytest_trt.core import codec
from pytest_trt.errors import DeclarationError, RecordError


def set_fields(record: Any, **values: Any) -> None:
    """Set fields of a frozen record that is being made."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def check_fields(record: Any, where: str) -> None:
    """Convert every field to its annotated type. Raises DeclarationError, naming `where` and the field, for what does
    not fit."""
    try:
        for name, kind in codec.field_types(record).items():
            set_fields(record, **{name: codec.check(kind, getattr(record, name), f"{where}: {name}")})
    except RecordError as error:
        raise DeclarationError(str(error)) from None


def suggest(name: Any, names: Iterable[str], otherwise: str) -> str:
    """The end of an error about a name that there is not: the nearest of those that there are, else `otherwise`."""
    near = difflib.get_close_matches(str(name), list(names), 1)
    return f"did you mean {near[0]!r}?" if near else otherwise


def parse_share(value: Any, where: str) -> float | None:
    """A share: 0.03, "0.03" or "3%". Raises DeclarationError, with the nearest thing that was meant, otherwise."""
    if value is None:
        return None
    text = str(value).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise DeclarationError(f"{where} is {value!r}: write a share such as '3%' or 0.03") from None
    if isinstance(value, bool) or not 0 <= share < 1:
        meant = 1 <= share <= 100 and "%" not in text
        hint = f"did you mean '{text}%'?" if meant else "it must be from 0 to below 1, or below '100%'"
        raise DeclarationError(f"{where} is {value!r}: {hint}")
    return share
