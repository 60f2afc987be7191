"""The arguments that describe a model's inputs, which several commands share, and their values."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_trt.errors import DeclarationError
from pytest_trt.spec.declaration import RunShape


def add_input_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the arguments that describe a model's inputs, for `input_fields` and `run_shape`, and return their group."""
    group = parser.add_argument_group("inputs of the model")
    group.add_argument("--batch", type=int, metavar="N", help="the size of each dynamic leading dimension")
    group.add_argument(
        "--dims",
        action="append",
        default=[],
        metavar="NAME=SIZE|MIN,OPT,MAX",
        help="the size of a named dimension, or its range, in which case OPT is run; may be repeated",
    )
    group.add_argument(
        "--shapes",
        action="append",
        default=[],
        metavar="NAME=1x3x48|MIN,OPT,MAX",
        help="the shape of an input whose dimensions have no names, or its range; may be repeated",
    )
    group.add_argument(
        "--input-range",
        action="append",
        default=[],
        metavar="NAME=LOW,HIGH",
        help="the range of an input's random values; integers include both ends; may be repeated",
    )
    return group


def input_fields(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of EngineSpec that the arguments of `add_input_arguments` set.

    Raises:
        DeclarationError: An argument is malformed, or sets one name twice.
    """
    return {
        "dims": _dims(args, tuple),
        "shapes": _unique("--shapes", map(_parse_shape, args.shapes)),
        "input_ranges": _unique("--input-range", map(_parse_range, args.input_range)),
    }


def run_shape(args: argparse.Namespace) -> RunShape:
    """Return the shape to run that the arguments of `add_input_arguments` set.

    Raises:
        DeclarationError: As `input_fields`.
    """
    return RunShape(batch=args.batch, dims=_dims(args, int))


def _dims(args: argparse.Namespace, kind: type) -> dict[str, Any]:
    """Return the dimensions whose value is a size (`kind` is int) or a range (`kind` is tuple)."""
    return _unique("--dims", [(name, value) for name, value in map(_parse_dim, args.dims) if isinstance(value, kind)])


def _unique(flag: str, items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in items:
        if name in found:
            raise DeclarationError(f"{flag} sets {name!r} to both {found[name]} and {value}: keep one of them")
        found[name] = value
    return found


def _parse_dim(text: str) -> tuple[str, Any]:
    name, _, sizes = text.rpartition("=")
    numbers = sizes.split(",")
    if not name or not all(number.strip().isdecimal() for number in numbers) or len(numbers) not in (1, 3):
        raise DeclarationError(
            f"--dims is {text!r}: write a dimension's name and its size or min,opt,max, such as N=4 or N=1,4,8"
        )
    return name, _one_or_three([int(number) for number in numbers])


def _parse_shape(text: str) -> tuple[str, Any]:
    name, _, shapes = text.rpartition("=")
    parts = shapes.split(",")
    if not name or not all(re.fullmatch(r"\d+(x\d+)*", part) for part in parts) or len(parts) not in (1, 3):
        raise DeclarationError(
            f"--shapes is {text!r}: write an input's name and its shape or min,opt,max, such as x=1x3x8x8"
        )
    return name, _one_or_three([tuple(map(int, part.split("x"))) for part in parts])


def _one_or_three(values: Sequence[Any]) -> Any:
    return tuple(values) if len(values) == 3 else values[0]


def _parse_range(text: str) -> tuple[str, tuple[float, float]]:
    name, _, limits = text.rpartition("=")
    try:
        low, high = map(float, limits.split(","))
        if name and math.isfinite(low) and math.isfinite(high):
            return name, (low, high)
    except ValueError:
        pass
    raise DeclarationError(
        f"--input-range is {text!r}: write an input's name, its least and its greatest value, such as ids=0,30521"
    )
