"""Test sets of inputs that are filled in place, and outputs that are views: what is shared, and what is an error."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pytest_trt.errors import InputError, ProbeError
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.probe.server import ProbeServer


@pytest.fixture(scope="module")
def server() -> Iterator[ProbeServer]:
    with ProbeServer("onnxruntime") as server:
        yield server


@pytest.fixture
def probe(server: ProbeServer, subject: Subject) -> Iterator[EngineProbe]:
    with EngineProbe(server, subject) as probe:
        yield probe


def value(number: int) -> Any:
    return np.full((4, 32), number, np.float32)


def filled(probe: EngineProbe, count: int, kept: int = 1) -> Iterator[Any]:
    """Yield sets of inputs, each filled with its number."""
    for number, arrays in zip(range(count), probe.input_sets(kept), strict=False):
        arrays["x"][...] = number
        yield arrays


@pytest.fixture
def expected(probe: EngineProbe) -> list[Any]:
    return [probe.infer({"x": value(number)})["y"] for number in range(12)]


def test_outputs_are_those_of_copied_arrays(probe: EngineProbe, expected: list[Any]) -> None:
    got = [outputs["y"].copy() for outputs in probe.stream(filled(probe, 12))]
    np.testing.assert_array_equal(got, expected)
    for arrays, want in zip(filled(probe, 12), expected, strict=True):
        np.testing.assert_array_equal(probe.infer(arrays)["y"], want)


def test_so_many_outputs_stay_valid(probe: EngineProbe, expected: list[Any]) -> None:
    held: list[Any] = []
    for outputs in probe.stream(filled(probe, 12, kept=3)):
        held = [*held[-2:], outputs]
    for outputs, want in zip(held, expected[-3:], strict=True):
        np.testing.assert_array_equal(outputs["y"], want)


def test_memory_is_mapped_once_and_used_again(probe: EngineProbe) -> None:
    ring = probe.input_sets(2)
    assert probe.input_sets(2) is ring
    assert len(ring) == 2 + 2 + 3  # two are kept, two are in the pipeline, and three on their way there
    seen = set()
    for arrays in itertools.islice(ring, 3 * len(ring)):
        seen.add(arrays["x"].ctypes.data)
        seen.add(probe.infer(arrays)["y"].ctypes.data)
    assert len(seen) == 2 * len(ring)


def test_a_set_keeps_what_was_written(probe: EngineProbe) -> None:
    ring = probe.input_sets(1)
    for number, arrays in zip(range(len(ring)), ring, strict=False):
        arrays["x"] = value(number)
    del arrays
    assert [next(ring)["x"][0, 0] for _ in range(len(ring))] == list(range(len(ring)))


@pytest.mark.parametrize(
    "keep",
    [
        lambda outputs: outputs,
        lambda outputs: outputs["y"],
        lambda outputs: outputs["y"][1:, ::2],
        lambda outputs: np.asarray(outputs["y"]).T,
        lambda outputs: memoryview(outputs["y"]),
    ],
    ids=["dict", "array", "slice", "asarray", "memoryview"],
)
def test_outputs_that_are_kept_too_long_are_an_error(probe: EngineProbe, keep: Any) -> None:
    kept: list[Any] = []
    with pytest.raises(InputError, match=r"outputs of an earlier query are still in use.*more than .*inputs\(2\)"):
        kept.extend(map(keep, probe.stream(filled(probe, 12, kept=2))))
    assert len(kept) == 3
    kept.clear()
    assert len(list(map(len, probe.stream(filled(probe, 12, kept=2))))) == 12, "the probe goes on"


def test_copies_may_be_kept(probe: EngineProbe, expected: list[Any]) -> None:
    kept = [np.copy(outputs["y"]) for outputs in probe.stream(filled(probe, 12))]
    np.testing.assert_array_equal(kept, expected)


def test_inputs_that_are_kept_too_long_are_an_error(probe: EngineProbe) -> None:
    kept = [arrays["x"][0] for arrays in itertools.islice(probe.input_sets(1), len(probe.input_sets(1)))]
    with pytest.raises(InputError, match="an earlier set of inputs are still in use"):
        next(probe.input_sets(1))
    kept.clear()
    next(probe.input_sets(1))


def test_inputs_in_flight_are_read_only(probe: EngineProbe) -> None:
    ring, sent = probe.input_sets(1), []

    def batches() -> Iterator[Any]:
        for arrays in itertools.islice(ring, 3):
            sent.append(arrays)
            yield arrays
        with pytest.raises(ValueError, match="read-only"):
            sent[2]["x"][...] = 1

    assert len(list(map(len, probe.stream(batches())))) == 3
    sent[2]["x"][...] = 1
    assert sent[2]["x"].sum() == 128


def test_a_set_that_is_sent_twice_at_once_is_an_error(probe: EngineProbe) -> None:
    arrays = next(probe.input_sets(1))
    with pytest.raises(InputError, match="in flight already"):
        list(probe.stream([arrays, arrays]))
    probe.infer(arrays)
    probe.infer(arrays)


def test_a_stream_that_is_left_frees_its_sets(probe: EngineProbe) -> None:
    for _ in range(4):
        for outputs in probe.stream(filled(probe, 12)):
            assert outputs["y"].shape[0] == 4
            break
        del outputs


def test_sets_and_other_arrays_may_be_mixed(probe: EngineProbe, expected: list[Any]) -> None:
    sets = filled(probe, 12)
    batches = (arrays if number % 2 else {"x": value(number)} for number, arrays in enumerate(sets))
    got = [outputs["y"].copy() for outputs in probe.stream(batches)]
    np.testing.assert_array_equal(got, expected)


def test_values_of_another_shape_are_an_error(probe: EngineProbe) -> None:
    arrays = next(probe.input_sets(1))
    with pytest.raises(InputError, match=r"'x' has the shape \(4, 32\), and cannot hold one of \(32,\)"):
        arrays["x"] = value(0)[0]
    assert list(arrays) == ["x"]
    assert len(arrays) == 1


def test_sets_of_a_closed_engine_are_an_error_and_their_arrays_stay_readable(
    server: ProbeServer, subject: Subject, probe: EngineProbe, expected: list[Any]
) -> None:
    with EngineProbe(server, subject) as closed:
        arrays = next(closed.input_sets(1))
        arrays["x"] = value(5)
        outputs = closed.infer(arrays)
    np.testing.assert_array_equal(outputs["y"], expected[5])
    with pytest.raises(InputError, match="belong to an engine that was closed"):
        probe.infer(arrays)
    with pytest.raises(ProbeError, match="the probe has ended"):
        closed.infer(arrays)
    np.testing.assert_array_equal(probe.infer({"x": value(3)})["y"], expected[3])
