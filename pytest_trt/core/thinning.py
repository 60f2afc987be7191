"""Thin out the samples of a measurement, for files that hold many: some blocks stay whole, others keep their medians.

Times are rounded to a nanosecond, which is finer than the step of any timer that is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pytest_trt.core.records import Block, Measurement, Result, Samples


def thin_out(samples: Samples, whole_blocks: int) -> Samples:
    """Return the samples with at most `whole_blocks` whole blocks, evenly spread, and the medians of the others."""
    every = -(-len(samples.blocks) // whole_blocks)
    blocks = (_rounded(b) if number % every == 0 else _medians(b) for number, b in enumerate(samples.blocks))
    return dataclasses.replace(samples, blocks=tuple(blocks))


def fit_samples(all_samples: Sequence[Samples], most_bytes: int) -> tuple[Samples, ...]:
    """Return samples that take about `most_bytes` as JSON: a part of the blocks, and a part of these whole.

    Half of the bytes are for the medians of blocks, which show how a figure moved during the measurement, and the rest
    for whole blocks, which show its distribution. Every probe keeps at least one block.
    """
    blocks = [block for samples in all_samples for block in samples.blocks]
    if not blocks:
        return tuple(all_samples)
    reduced, whole = _json_bytes(max(blocks, key=lambda block: len(next(iter(block.times.values()), ()))))
    if whole * len(blocks) <= most_bytes:
        return tuple(thin_out(samples, len(blocks)) for samples in all_samples)
    kept = min(len(blocks), most_bytes // 2 // reduced)
    whole_kept = (most_bytes - kept * reduced) // max(whole - reduced, 1)
    fitted = []
    for samples in all_samples:
        count = max(1, kept * len(samples.blocks) // len(blocks))
        part = dataclasses.replace(samples, blocks=_spread(samples.blocks, count))
        fitted.append(thin_out(part, max(1, whole_kept * len(samples.blocks) // len(blocks))))
    return tuple(fitted)


def without_samples(result: Result) -> Result:
    """Return the result without the large parts of its measurement, and without what it was compared with."""
    measurement = None if result.measurement is None else without_large_parts(result.measurement)
    return dataclasses.replace(result, measurement=measurement, reference=None, history=())


def without_large_parts(measurement: Measurement) -> Measurement:
    """Return the measurement without its samples, layers and outputs."""
    return dataclasses.replace(measurement, samples=(), profile=None, outputs={})


def _spread(blocks: Sequence[Block], count: int) -> tuple[Block, ...]:
    """Return `count` of the blocks, evenly spread; all of them if there are less."""
    count = min(count, len(blocks))
    return tuple(blocks[number * len(blocks) // count] for number in range(count))


def _json_bytes(block: Block) -> tuple[int, int]:
    """Return about how many bytes a block takes as JSON: with its medians, and with all its samples."""
    names = sum(map(len, (*block.times, *block.state)))
    reduced = 40 + names + 15 * len(block.times) + 11 * len(block.state)
    return reduced, reduced + 9 * sum(max(0, len(times) - 1) for times in block.times.values())


def _rounded(block: Block) -> Block:
    times = {name: tuple([round(ms, 6) for ms in times]) for name, times in block.times.items()}
    return Block(times, round(block.seconds, 6), block.state)


def _medians(block: Block) -> Block:
    times = {name: (round(_median(times), 6),) for name, times in block.times.items() if times}
    return Block(times, round(block.seconds, 6), block.state)


def _median(times: Sequence[float]) -> float:
    """Return the median, without numpy, and faster than `statistics` for a short block."""
    ordered, half = sorted(times), len(times) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
