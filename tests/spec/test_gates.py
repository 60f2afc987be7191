"""Test which figures are compared with a baseline, and with which tolerance."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_trt.core.figures import FIGURES
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.gates import OWN_SETTINGS, Gate, choose_gates, parse_gate
from pytest_trt.spec.markers import declare
from pytest_trt.spec.settings import Settings

DEFAULTS = {"ms": 0.05, "memory_mb": 0.05}


def test_default_gates_are_latency_throughput_generation_and_sizes() -> None:
    gates = choose_gates({}, DEFAULTS)
    generation = ["ttft_ms", "itl_ms", "kv_mb"]
    assert list(gates) == ["ms", "throughput", *generation, "memory_mb", "process_mb", "host_mb", "engine_mb"]
    assert not any(gate.requested for gate in gates.values())
    assert {name: gates[name].tolerance for name in DEFAULTS} == DEFAULTS


def test_default_tolerance_is_that_of_the_figure() -> None:
    tolerances = {name: gate.tolerance for name, gate in choose_gates({}, {}).items()}
    assert tolerances == {name: f.tolerance for name, f in FIGURES.items() if f.tolerance is not None}
    assert tolerances["engine_mb"] == 0.1


def test_settings_have_the_tolerances_of_the_table_of_figures() -> None:
    assert {name: getattr(Settings(), own) for name, own in OWN_SETTINGS.items()} == {
        name: FIGURES[name].tolerance for name in OWN_SETTINGS
    }


def test_every_figure_can_be_requested() -> None:
    gates = choose_gates(dict.fromkeys(FIGURES, 0.3), DEFAULTS)
    assert gates == {name: Gate(figure=name, tolerance=0.3, requested=True) for name in FIGURES}


def test_every_figure_can_be_switched_off() -> None:
    assert choose_gates(dict.fromkeys(FIGURES), DEFAULTS) == {}


def test_a_wider_tolerance_of_latency_and_memory_holds_for_throughput_and_host_memory() -> None:
    gates = choose_gates({}, {"ms": 0.5, "memory_mb": 0.4})
    assert [gates[name].tolerance for name in ("throughput", "process_mb", "host_mb")] == [0.5, 0.4, 0.4]
    requested = choose_gates({"host_mb": 0.01}, {"ms": 0.5, "memory_mb": 0.4})
    assert requested["host_mb"].tolerance == 0.01


@pytest.mark.parametrize(
    ("value", "tolerance"), [("10%", 0.1), (0.1, 0.1), ("0.1", 0.1), ("250%", 2.5), (0, 0.0), ("off", None)]
)
def test_tolerance_of_a_gate(value: Any, tolerance: float | None) -> None:
    assert parse_gate("engine_mb", value, "here") == tolerance


@pytest.mark.parametrize(
    ("figure", "value", "message"),
    [
        ("engin_mb", "10%", "here: there is no figure 'engin_mb': did you mean 'engine_mb'?"),
        ("speed", "10%", "here: there is no figure 'speed': choose from ms, gpu_ms"),
        ("engine_mb", "much", "here is 'much': write a share such as '3%' or 0.03"),
        ("engine_mb", 10, "here is 10: did you mean '10%'?"),
        ("engine_mb", "-1%", "here is '-1%': it must be from 0 to below 1, or below '1000%'"),
        ("engine_mb", "1000%", "here is '1000%': it must be from 0 to below 1, or below '1000%'"),
        ("engine_mb", "offf", "here is 'offf': did you mean 'off'?"),
        ("engine_mb", False, "here is False: to switch it off, write 'off'"),
        ("engine_mb", True, "here is True"),
        ("engine_mb", None, "here is None: write a share such as '10%', or 'off'"),
        ("ms", "3%", "here is '3%': ms accepts only 'off'; its tolerance is set by max_slowdown"),
        ("memory_mb", 0.1, "its tolerance is set by max_memory_growth"),
    ],
)
def test_invalid_gates(figure: str, value: Any, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_gate(figure, value, "here")
    assert message in str(caught.value)


def declared(*markers: Any) -> Any:
    """Return the tolerance that `trt_regression` markers declare, the closest first."""
    marks = [getattr(pytest.mark.trt_regression(**arguments), "mark") for arguments in markers]  # noqa: B009
    return declare([pytest.mark.trt_engine("m.onnx").mark, *marks], {}, {}).tolerance


def test_markers_gate_figures_by_name() -> None:
    tolerance = declared({"engine_mb": "10%", "load_s": "150%", "host_mb": "off", "max_slowdown": "3%"})
    assert tolerance.gates == {"host_mb": None, "engine_mb": 0.1, "load_s": 1.5}
    assert tolerance.max_slowdown == 0.03


def test_the_closest_marker_wins_by_figure() -> None:
    tolerance = declared({"engine_mb": "off"}, {"engine_mb": "10%", "load_s": 0.5})
    assert tolerance.gates == {"engine_mb": None, "load_s": 0.5}


def test_the_closest_marker_wins_over_the_other_name_of_its_figure() -> None:
    assert declared({"ms": "off"}, {"max_slowdown": "3%"}).gates == {"ms": None}
    closest = declared({"max_slowdown": "3%"}, {"ms": "off"})
    assert (closest.gates, closest.max_slowdown) == ({}, 0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engin_mb": "10%"}, "trt_regression: unknown argument 'engin_mb': did you mean 'engine_mb'?"),
        ({"engine_mb": "10"}, "trt_regression: engine_mb is '10': did you mean '10%'?"),
        ({"engine_mb": None}, "trt_regression: engine_mb is None"),
        ({"ms": "3%"}, "trt_regression: ms is '3%': ms accepts only 'off'"),
        ({"ms": "off", "max_slowdown": "3%"}, "max_slowdown and ms='off' contradict each other"),
    ],
)
def test_invalid_markers(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declared(arguments)
    assert message in str(caught.value)
