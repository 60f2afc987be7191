"""Test what is computed from the readings of an energy counter, and the counter of the host's processors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pytest_trt.errors import BackendError
from pytest_trt.measure.energy_meter import RaplMeter, Reading, Watch, energy_used


def readings(seconds: float, watts: float, *, step: float = 0.1, poll: float = 0.002, sensor: float | None = None):
    """Return the readings of a counter that moves every `step` seconds, and of a sensor that reads `sensor` W."""
    times = [number * poll for number in range(round(seconds / poll))]
    return [Reading(t, 7e5 + watts * step * math.floor(t / step + 1e-9), sensor) for t in times]


def test_the_energy_is_that_of_whole_steps() -> None:
    """A window that begins and ends within steps would miss up to 7 % of a second."""
    used = energy_used(readings(3.17, 495.0)[13:])
    assert used.joules / used.seconds == pytest.approx(495.0, rel=1e-3)
    assert used.seconds == pytest.approx(3.0)
    assert used.step_s == pytest.approx(0.1)
    assert used.sensor_j is None


def test_a_move_that_was_seen_late_is_not_an_end() -> None:
    """On a busy host, the first move may be seen 40 ms late, which is 4 % of this window."""
    found = readings(1.35, 495.0)[40:]
    late = [reading for reading in found if not 0.099 < reading.time_s < 0.139]
    used = energy_used(late)
    assert used.joules / used.seconds == pytest.approx(495.0, rel=1e-3)
    assert used.seconds == pytest.approx(1.1)


def test_moves_that_were_all_seen_late_are_used_as_they_are() -> None:
    found = [reading for n, reading in enumerate(readings(1.35, 495.0)) if n % 50 > 20]
    used = energy_used(found)
    assert used.joules / used.seconds == pytest.approx(495.0, rel=1e-3)
    assert used.seconds == pytest.approx(1.2)


def test_the_power_is_integrated_over_the_same_steps() -> None:
    rising = [Reading(r.time_s, r.joules, 400 + 100 * r.time_s) for r in readings(2.05, 500.0)]
    used = energy_used([r if n % 5 == 0 else Reading(r.time_s, r.joules) for n, r in enumerate(rising)])
    assert used.sensor_j is not None
    assert used.sensor_j / used.seconds == pytest.approx(400 + 100 * (0.1 + 2.0) / 2, rel=1e-3)


def test_a_counter_that_hardly_moves_is_an_error() -> None:
    with pytest.raises(BackendError, match=r"moved 0 times in 2\.0 s"):
        energy_used(readings(2.0, 0.0))
    with pytest.raises(BackendError, match=r"moved 4 times"):
        energy_used(readings(0.45, 100.0))


def test_a_counter_that_is_reset_is_an_error() -> None:
    found = readings(2.0, 100.0)
    found[500:] = [Reading(r.time_s, r.joules - 7e5) for r in found[500:]]
    with pytest.raises(BackendError, match="went backwards"):
        energy_used(found)


class FailingMeter:
    name = "failing"

    def joules(self) -> float:
        raise BackendError("the counter is gone")

    def watts(self) -> float | None:
        return None


def test_an_error_of_the_meter_is_raised_where_it_is_watched() -> None:
    with pytest.raises(BackendError, match="the counter is gone"), Watch(FailingMeter()):
        pass
    with pytest.raises(KeyError), Watch(FailingMeter()):
        raise KeyError


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Counters as Linux shows them: two packages, a part of one of them, and a package a second time."""
    for name, kind in {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "name").write_text(f"{kind}\n")
        (folder / "max_energy_range_uj").write_text("262143328850\n")
        (folder / "energy_uj").write_text("1000000\n")
    return tmp_path


def test_rapl_counts_each_package_once(powercap: Path) -> None:
    meter = RaplMeter(powercap)
    assert meter.joules() == 2.0
    assert meter.watts() is None
    (powercap / "intel-rapl:1/energy_uj").write_text("3500000\n")
    assert meter.joules() == 4.5
    (powercap / "intel-rapl:1/energy_uj").write_text("1500000\n")  # it started again at 0
    assert meter.joules() == pytest.approx(2.5 + 262143.32885)


def test_a_host_without_counter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no RAPL package"):
        RaplMeter(tmp_path)


def test_a_counter_that_cannot_be_read_is_an_error_that_names_it(powercap: Path) -> None:
    (powercap / "intel-rapl:0/energy_uj").unlink()
    with pytest.raises(BackendError, match=r"intel-rapl:0/energy_uj cannot be read \(No such file.*chmod a\+r"):
        RaplMeter(powercap)


def test_a_counter_that_is_no_number_is_an_error(powercap: Path) -> None:
    (powercap / "intel-rapl:0/energy_uj").write_text("\n")
    with pytest.raises(BackendError, match="energy_uj cannot be read"):
        RaplMeter(powercap)
