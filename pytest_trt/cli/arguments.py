"""What a command is told of its model's inputs: their shapes, what they are drawn from, what int8 is calibrated on."""

from __future__ import annotations

import argparse
import importlib
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.engine.model.files import RANDOM_CALIBRATION
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.declaration import RunShape


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments; `input_fields` and `run_shape` read them."""
    parser.add_argument("--batch", type=int, metavar="N")
    parser.add_argument("--dims", action="append", default=[], metavar="NAME=SIZE|MIN,OPT,MAX",
                        help="a dimension's size, or its range: its optimum is run; more than once")  # fmt: skip
    parser.add_argument("--shapes", action="append", default=[], metavar="NAME=1x3x48|MIN,OPT,MAX",
                        help="an input's shape, or its range: for dimensions without names")  # fmt: skip
    parser.add_argument("--input-range", action="append", default=[], metavar="NAME=LOW,HIGH",
                        help="what an input is drawn from, both included for integers; more than once")  # fmt: skip


def input_fields(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of EngineSpec that they give. Raises DeclarationError, naming the argument."""
    return {
        "dims": _dims(args, tuple),
        "shapes": _once("--shapes", map(_shape_of, args.shapes)),
        "input_ranges": _once("--input-range", map(_range_of, args.input_range)),
    }


def run_shape(args: argparse.Namespace) -> RunShape:
    """The shape that is run, as far as they give it. Raises as `input_fields` does."""
    return RunShape(batch=args.batch, dims=_dims(args, int))


def add_calibration_argument(parser: argparse.ArgumentParser, without: str) -> None:
    """The argument, for `parse_calibration` to read; `without` says what holds without it."""
    parser.add_argument("--calibration", metavar="random|MODULE:FUNCTION|CACHE",
                        help="what int8 is calibrated on: drawn inputs, a function that yields inputs, or what one of "
                             f"TensorRT's own calibrators kept ({without})")  # fmt: skip


def parse_calibration(text: str | None, calibrator: str | None = None) -> str | Callable[..., Any] | None:
    """EngineSpec.calibration, as that argument says it. Any other text is a calibration cache, and needs a
    `calibrator`. Raises DeclarationError, naming the argument."""
    if text is None or text == RANDOM_CALIBRATION:
        return text
    if re.fullmatch(r"[\w.]+:\w+", text):
        return _function("--calibration", text)
    if calibrator is None:
        own = "a calibration cache is what TensorRT's own calibrators read"
        raise DeclarationError(f"--calibration is {text!r}: write {RANDOM_CALIBRATION} or MODULE:FUNCTION ({own})")
    return text


def _function(flag: str, text: str) -> Callable[..., Any]:
    """The function that an option names, looked for in the current folder too."""
    module, _, name = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's module raises what it will
        raise DeclarationError(f"{flag} is {text!r}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not callable(found):
        kind = type(found).__name__
        raise DeclarationError(f"{flag} is {text!r}: it is no function ({kind}): name one that yields inputs")
    return found


def _dims(args: argparse.Namespace, kind: type) -> dict[str, Any]:
    return _once("--dims", [(name, said) for name, said in map(_dim_of, args.dims) if isinstance(said, kind)])


def _once(option: str, said: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in said:
        if name in found:
            raise DeclarationError(f"{option} says of {name!r} both {found[name]} and {value}: keep one of them")
        found[name] = value
    return found


def _dim_of(text: str) -> tuple[str, Any]:
    name, _, sizes = text.rpartition("=")
    numbers = sizes.split(",")
    if not name or not all(number.strip().isdecimal() for number in numbers) or len(numbers) not in (1, 3):
        raise DeclarationError(f"--dims is {text!r}: write a dimension's name and size, or its min,opt,max: N=1,4,8")
    return name, _one_or_three([int(number) for number in numbers])


def _shape_of(text: str) -> tuple[str, Any]:
    name, _, shapes = text.rpartition("=")
    written = shapes.split(",")
    if not name or not all(re.fullmatch(r"\d+(x\d+)*", shape) for shape in written) or len(written) not in (1, 3):
        raise DeclarationError(f"--shapes is {text!r}: write an input's name and shape, or its min,opt,max: x=1x3x8x8")
    return name, _one_or_three([tuple(map(int, shape.split("x"))) for shape in written])


def _one_or_three(said: Sequence[Any]) -> Any:
    return tuple(said) if len(said) == 3 else said[0]


def _range_of(text: str) -> tuple[str, tuple[float, float]]:
    name, _, limits = text.rpartition("=")
    try:
        low, high = map(float, limits.split(","))
        if name and math.isfinite(low) and math.isfinite(high):
            return name, (low, high)
    except ValueError:
        pass
    raise DeclarationError(f"--input-range is {text!r}: write an input's name, the least and the greatest: ids=0,30521")


def add_project_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name the project and its baselines."""
    parser.add_argument("--rootdir", type=Path, default=Path(), help="a folder of the project (the current one)")
    parser.add_argument("--baseline-dir", metavar="PATH|URL", help="where baselines are kept (the ini file's)")
    parser.add_argument("--baseline", metavar="NAME", help="which of them (the ini file's, or main)")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of a command that builds and runs engines itself; `run_options` reads them."""
    parser.add_argument("--device", metavar="N|UUID", help="as --trt-device (the ini file's, or 0)")
    parser.add_argument("--cache-dir", metavar="PATH", help="as --trt-cache-dir (the ini file's, or the user's)")
    parser.add_argument("--rootdir", type=Path, default=Path(), help="a folder of the project (the current one)")


def run_options(args: argparse.Namespace) -> dict[str, tuple[str, str | None]]:
    """What those arguments say, for Project.settings."""
    return {"device": ("--device", args.device), "cache_dir": ("--cache-dir", args.cache_dir)}


def find_interpreter(flag: str, name: str) -> str:
    """The path of an interpreter that an option names. Raises DeclarationError where there is none."""
    python = shutil.which(name)
    if python is None:
        raise DeclarationError(f"{flag} is {name!r}: there is no such interpreter")
    return str(Path(python).absolute())
