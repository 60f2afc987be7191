"""The repr of a measurement, and access to its figures."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest
from samples.records import measurement

from pytest_trt.core import codec
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Estimate, Measurement


@pytest.fixture
def measured() -> Measurement:
    figures = {
        "ms": Estimate(0.27214, 0.27, 0.28),
        "throughput": Estimate.exact(26100.4),
        "memory_mb": Estimate.exact(628),
    }
    return dataclasses.replace(measurement(node_id="test_m.py::test_m"), figures=figures)


def test_figure_is_an_attribute_and_an_item(measured: Measurement) -> None:
    assert measured.ms == measured["ms"] == measured.figures["ms"].value == 0.27214
    assert measured.throughput == measured["throughput"] == 26100.4


def test_unmeasured_figure_raises_and_names_the_measured_ones(measured: Measurement) -> None:
    with pytest.raises(KeyError, match="no figure 'p99_ms' was measured; there are ms, throughput, memory_mb"):
        measured["p99_ms"]
    with pytest.raises(AttributeError, match="no attribute or figure 'p99'; its figures are ms, throughput, memory_mb"):
        _ = measured.p99
    bare = dataclasses.replace(measured, figures={})
    with pytest.raises(KeyError, match="there are none"):
        bare["ms"]
    with pytest.raises(AttributeError, match="its figures are none"):
        _ = bare.ms


def test_no_field_of_a_measurement_hides_a_figure() -> None:
    assert not {field.name for field in dataclasses.fields(Measurement)} & set(FIGURES)


def test_figures_are_listed_among_the_attributes(measured: Measurement) -> None:
    assert {"ms", "throughput", "figures", "node_id"} <= set(dir(measured))
    assert "p99_ms" not in dir(measured)


def test_repr_is_one_short_line(measured: Measurement) -> None:
    assert repr(measured) == "<Measurement test_m.py::test_m on NVIDIA H200: ms=0.2721 throughput=26100 memory_mb=628>"
    assert repr(dataclasses.replace(measured, figures={})).endswith("on NVIDIA H200: no figures>")


def test_copies_and_json_are_unchanged(measured: Measurement) -> None:
    assert copy.deepcopy(measured) == copy.copy(measured) == pickle.loads(pickle.dumps(measured)) == measured
    encoded = codec.encode(measured)
    assert list(encoded) == [field.name for field in dataclasses.fields(Measurement)]
    assert codec.decode(Measurement, json.loads(json.dumps(encoded))) == measured
