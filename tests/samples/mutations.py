"""Hostile variants of valid files, each made from one number, so that thousands of them take seconds."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, settings

SECONDS = 5
"""The processor time that one hostile input may take. A busy machine does not change it."""

MEMORY_BYTES = 500_000_000
"""The memory that all hostile inputs of a format may add to the process."""

INPUTS = 2000 if os.environ.get("CI") else 200
"""How many hostile inputs of each format are read: more where nobody waits for them."""

fuzzed = settings(
    max_examples=INPUTS,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
"""The settings of a test that reads mutations: the same inputs in every run, which need no shrinking."""

_DEEP: list[Any] = []
for _ in range(200):
    _DEEP = [_DEEP]

_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, -(2**70), 10**400, 1e308, 5e-324, float("nan"), float("-inf"), "", "x" * 100_001,
    "\x1b[2J\n::error::", "\ud800", "../../etc/passwd", "NaN", [], {}, [[]], {"": {}}, [1.0] * 10_000, _DEEP,
    {"schema": 99}, ["\0"], "2026-13-45T99:99", "0" * 64,
)  # fmt: skip
_TOKENS = (
    b"", b"\0", b"\xff", b"\xed\xa0\x80", b"[" * 2000, b"{" * 50, b'{"a":' * 2000, b"]", b"}", b'"', b",", b"'", b"\n",
    b"NaN", b"-1", b"1e999", b"9" * 5000, b"null", b"true", b"= [", b"[[budget]]", b'"\\u001b"', b"*" * 100,
    b"\x80" * 9, b"\xff\xff\xff\xff\x0f", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
)  # fmt: skip


def mutate(original: bytes, seed: int) -> bytes:
    """Return `original` with one to four cuts, repeats, changed bits, or tokens that are special in some format."""
    draw, text = random.Random(seed), original
    for _ in range(draw.randint(1, 4)):
        start = draw.randint(0, len(text))
        end = min(len(text), start + draw.choice((0, 0, 1, 2, 8, 60, 4000)))
        replaced = draw.choice(
            (draw.choice(_TOKENS), draw.randbytes(draw.randint(1, 4)), text[start:end] * 2, _flipped(text[start:end]))
        )
        text = text[:start] + replaced + text[end:]
    return text


def _flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1, *data[1:]]) if data else b"\x01"


def mutate_json(original: Any, seed: int) -> bytes:
    """Return JSON: `original` with one to three hostile values, lost or repeated entries, at any depth.

    One of four is mutated as a text.
    """
    draw, value = random.Random(seed), json.loads(json.dumps(original))
    if draw.random() < 0.25:
        return mutate(json.dumps(value).encode(), seed)
    for _ in range(draw.randint(1, 3)):
        value = _replaced(value, draw)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _replaced(value: Any, draw: random.Random) -> Any:
    """Return `value` with a change somewhere inside it, or another value in its place."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if not keys or draw.random() < 0.1:
        return draw.choice(_VALUES)
    key: Any = draw.choice(keys)
    change = draw.random()
    copy = value.copy()
    if change < 0.1:
        del copy[key]
    elif change < 0.2 and isinstance(copy, dict):
        copy[draw.choice(("", "unknown", "\x1b", "x" * 1000))] = copy[key]
    elif change < 0.2:
        copy += [copy[key]] * draw.choice((1, 300))
    else:
        copy[key] = _replaced(copy[key], draw)
    return copy


@contextlib.contextmanager
def bounded_time() -> Iterator[None]:
    """Raise TimeoutError in the block after SECONDS of processor time."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"one input takes more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """Fail if the largest memory of this process grows by more than MEMORY_BYTES in the block."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY_BYTES, f"hostile inputs took {grown} bytes of memory"
