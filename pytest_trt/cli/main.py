"""The command `pytest-trt`: what can be done without a test run."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from pytest_trt.errors import TrtError

COMMANDS = ("compare", "ab", "backends", "bisect", "baseline", "history", "cache", "calibrate", "doctor")
"""The rooms of `commands`, in the order of the help."""

USAGE = 2
"""The exit status of what cannot be meant or cannot be read, as argparse's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    from pytest_trt.core.version import __version__

    parser = argparse.ArgumentParser(prog="pytest-trt", description=__doc__)
    parser.add_argument("--version", action="version", version=f"pytest-trt {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"pytest_trt.cli.{name}").add_command(subparsers)
    args = parser.parse_args(arguments)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except TrtError as error:
        print(f"pytest-trt: error: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status
