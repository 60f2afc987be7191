"""Arguments that several commands share, and their values."""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from pytest_trt.core.validation import suggest
from pytest_trt.engine.model.files import RANDOM_CALIBRATION
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.engine_spec import Precision
from pytest_trt.spec.settings import Settings

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def add_subcommand(
    commands: Any,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    """Add a command such as `cache list` to the subparsers of its group, and return its parser.

    Args:
        commands: The subparsers.
        add_arguments: A function that adds the arguments of every command of the group.
        name: The name of the command.
        run: The function that runs it and returns the exit status.
        text: The help, from which the description is made; it begins with a small letter and has no full stop.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    add_arguments(parser)
    parser.set_defaults(run=run)
    return parser


def add_project_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a project and its baselines, for `Project`."""
    _add_rootdir(parser)
    parser.add_argument(
        "--baseline-dir",
        metavar="PATH|URL",
        help="the folder or URL of the baselines (default: the ini setting, or .trt-baselines)",
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="the name of the baseline (default: the ini setting, or main)"
    )


def add_cache_arguments(parser: argparse.ArgumentParser, *, rootdir: bool = True) -> None:
    """Add the arguments that name a project, unless the command has one of its own for that, and its engine cache."""
    if rootdir:
        _add_rootdir(parser)
    parser.add_argument(
        "--cache-dir",
        metavar="PATH",
        help="the folder of the engine cache (default: the ini setting, or the user's cache folder)",
    )


def add_run_arguments(parser: argparse.ArgumentParser, *, rootdir: bool = True) -> None:
    """Add the arguments of a command that builds and runs engines, for `run_options`; see `add_cache_arguments`."""
    parser.add_argument(
        "--device",
        metavar="N|UUID|WORDS",
        help="the GPU to use, by number, UUID or words of its name (default: the ini setting, or 0)",
    )
    add_host_argument(parser)
    add_cache_arguments(parser, rootdir=rootdir)


def add_host_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names hosts elsewhere, for the field `hosts` of Settings."""
    parser.add_argument(
        "--host",
        action="append",
        metavar="ssh://HOST|exec:COMMAND|ray|off",
        help="a host elsewhere that has the GPU, as --trt-host names it; may be repeated; off: this host (default: the "
        "ini setting trt_hosts, or this host)",
    )


def _add_rootdir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rootdir",
        type=Path,
        default=Path(),
        metavar="PATH",
        help="a folder of the project, whose ini settings apply (default: the current folder)",
    )


def run_options(args: argparse.Namespace) -> dict[str, tuple[str, str | list[str] | None]]:
    """Return the values of `add_run_arguments` in the form that `Project.settings` takes."""
    return {
        "device": ("--device", args.device),
        "hosts": ("--host", args.host),
        "cache_dir": ("--cache-dir", args.cache_dir),
    }


def add_gate_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that sets the tolerance of a figure, for the field `gates` of Settings."""
    parser.add_argument(
        "--gate",
        action="append",
        default=[],
        metavar="FIGURE=P",
        help="how much worse another figure may be, such as engine_mb=10%%; FIGURE=off does not compare it; may be "
        "repeated",
    )


def add_time_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that limit the time of a measurement, for `time_options`."""
    parser.add_argument(
        "--max-time",
        metavar="S",
        help="stop each measurement after this many seconds (default: the ini setting, or 10)",
    )
    parser.add_argument(
        "--wait", metavar="S", help="wait at most this many seconds for a busy GPU (default: the ini setting, or 60)"
    )


def time_options(args: argparse.Namespace) -> dict[str, tuple[str, str | None]]:
    """Return the values of `add_time_arguments` in the form that `Project.settings` takes."""
    return {"max_time_s": ("--max-time", args.max_time), "wait_s": ("--wait", args.wait)}


def add_precision_argument(parser: argparse.ArgumentParser, default: Precision) -> None:
    """Add the argument that names a precision, for `parse_precision`."""
    parser.add_argument(
        "--precision",
        default=default,
        metavar="NAME",
        help=f"the precision to build in: {', '.join(PRECISIONS)} (default: {default})",
    )


def parse_precision(text: str, message: str = "--precision is") -> Precision:
    """Return `text` as the name of a precision.

    Raises:
        DeclarationError: There is no such precision. The error begins with `message`.
    """
    if text not in PRECISIONS:
        nearest = suggest(text, PRECISIONS, f"choose from {', '.join(PRECISIONS)}")
        raise DeclarationError(f"{message} {text!r}: {nearest}")
    return text


def add_calibration_argument(parser: argparse.ArgumentParser, default: str, *, takes_cache: bool) -> None:
    """Add the argument that names the calibration data of int8, for `parse_calibration`.

    Args:
        parser: The parser of the command.
        default: What happens without the argument, for the help.
        takes_cache: Whether the command has a calibrator of TensorRT, which can read a calibration cache.
    """
    sources = "random inputs, or a function that yields inputs"
    if takes_cache:
        sources = "random inputs, a function that yields inputs, or the cache file of one of TensorRT's calibrators"
    parser.add_argument(
        "--calibration",
        metavar="random|MODULE:FUNCTION|CACHE" if takes_cache else "random|MODULE:FUNCTION",
        help=f"the calibration data of int8: {sources} (default: {default})",
    )


def parse_calibration(text: str | None, calibrator: str | None = None) -> str | Callable[..., Any] | None:
    """Return the value of EngineSpec.calibration for the argument of `add_calibration_argument`.

    Args:
        text: The value of the argument. Anything but `random` and MODULE:FUNCTION is the path of a calibration cache.
        calibrator: The name of one of TensorRT's calibrators. Only they read a calibration cache.

    Raises:
        DeclarationError: The function cannot be loaded, or a cache is named without a calibrator.
    """
    if text is None or text == RANDOM_CALIBRATION:
        return text
    if re.fullmatch(r"[\w.]+:\w+", text):
        return _load_function("--calibration", text)
    if calibrator is None:
        reason = "only TensorRT's own calibrators read a calibration cache"
        raise DeclarationError(f"--calibration is {text!r}: write {RANDOM_CALIBRATION} or MODULE:FUNCTION ({reason})")
    return text


def _load_function(flag: str, text: str) -> Callable[..., Any]:
    """Import the function MODULE:FUNCTION. The current folder is searched too."""
    module, _, name = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # Importing a user's module can raise anything.
        cause = f"{type(error).__name__}: {error}"
        raise DeclarationError(
            f"{flag} is {text!r}, which cannot be imported ({cause}): name a function that Python finds from here"
        ) from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not callable(function):
        kind = type(function).__name__
        raise DeclarationError(f"{flag} is {text!r}, which is not a function ({kind}): name one that yields inputs")
    return function


def find_interpreter(flag: str, name: str | None, settings: Settings) -> str | None:
    """Return the interpreter for `Bench`: an absolute path of this host, or a name that a host elsewhere looks up.

    Args:
        flag: The option that names it, for errors.
        name: A path, or a command on PATH; None for the interpreter that runs this process, or the host's agent.
        settings: The settings of the run, with its hosts.

    Raises:
        DeclarationError: This host has no such interpreter.
    """
    if name is None or settings.hosts:
        return name
    python = shutil.which(name)
    if python is None:
        raise DeclarationError(f"{flag} is {name!r}: there is no such interpreter: give its path or a command on PATH")
    return str(Path(python).absolute())
