"""Share the trials of a simulation among processes, each with a seed of its own."""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import argument_types

Share = TypeVar("Share")


def add_arguments(parser: argparse.ArgumentParser, trials: int, unit: str = "case") -> None:
    """Add the arguments that `compute` reads: `--trials` with its default, `--workers` and `--seed`."""
    count, seed = argument_types.count, argument_types.seed
    parser.add_argument("--trials", type=count, default=trials, help=f"the trials of each {unit} ({trials})")
    parser.add_argument("--workers", type=count, default=1, help="the processes that share the trials (1)")
    parser.add_argument("--seed", type=seed, default=0, help="the seed of all random choices (0)")


def compute(options: argparse.Namespace, run: Callable[[int, Sequence[int]], Share]) -> tuple[list[Share], int]:
    """Return what each process computed, and how many trials all of them ran: at least those that were requested.

    Args:
        options: The parsed arguments.
        run: Computes a share, from the number of its trials and its seed.
    """
    share, seeds = math.ceil(options.trials / options.workers), [(options.seed, n) for n in range(options.workers)]
    with concurrent.futures.ProcessPoolExecutor(options.workers) as pool:
        return list(pool.map(functools.partial(run, share), seeds)), share * options.workers
