"""The entry point of the command `pytest-trt`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from pytest_trt.cli.exit_status import CRASHED, INTERRUPTED, USAGE_ERROR
from pytest_trt.cli.terminal import ArgumentParser, show
from pytest_trt.core.version import __version__
from pytest_trt.errors import TrtError

COMMANDS = (
    "init", "compare", "merge", "ab", "backends", "bisect", "inspect", "explore", "baseline", "history", "site",
    "cache", "calibrate", "selftest", "doctor", "comment",
)  # fmt: skip
"""The commands in the order of the help. Each is a module of this package."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: The arguments after `pytest-trt`; None for those of the process.

    Raises:
        SystemExit: The arguments do not parse, or ask for help or the version.
    """
    try:
        args = _parser().parse_args(arguments)
        status: int = args.run(args)
        sys.stdout.flush()
    except TrtError as error:
        show(*f"pytest-trt: error: {error}".split("\n"), error=True)
        return USAGE_ERROR
    except BrokenPipeError:
        # The reader, such as head, has closed the pipe. Without this, Python would fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - Python's own exit status for it is 1, which means that a verdict fails.
        return _report_crash(error)
    return status


def _report_crash(error: Exception) -> int:
    """Report an exception that no command expects, and return its exit status."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    fault = f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"
    with contextlib.suppress(Exception):  # Standard error may be what failed.
        show(f"pytest-trt: internal error: {fault}: nothing was decided; please report this as a bug", error=True)
    return CRASHED


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="pytest-trt",
        description="Compare engines, manage baselines and the engine cache, and check a machine, without a test run.",
        epilog="Run 'pytest-trt COMMAND --help' for the arguments of a command.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-trt {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"pytest_trt.cli.{name}").add_command(subparsers)
    return parser
