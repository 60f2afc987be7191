"""Read a GPU's clocks, temperature, power, clock event reasons and processes through NVML.

This is the only module that imports NVML. It only reads: it never changes a setting of the GPU.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pytest_trt.core.clock_reasons import decode_reasons
from pytest_trt.errors import BackendError

SLOWDOWNS = ("hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "power brake")
"""The reasons that make a measurement invalid. A power cap is not among them: it is normal for a card under load."""

BUSY_PERCENT = 5
"""The lowest utilisation, in percent, at which another process is busy. Read while no probe runs."""

_POLL_S = 0.5

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Process:
    """Another process on the GPU.

    Attributes:
        pid: Its process id.
        name: Its command, as NVML reports it.
        memory_bytes: The device memory that it uses; None if NVML does not report it.
    """

    pid: int
    name: str
    memory_bytes: int | None

    def __str__(self) -> str:
        size = f", {self.memory_bytes / 1e6:.0f} MB" if self.memory_bytes is not None else ""
        return f"{self.name} (pid {self.pid}{size})"


def power_notes(states: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """Return a note if the GPU was at its power cap in any of the states, which is legal but moves the figures."""
    capped = any("power cap" in decode_reasons(state.get("reasons", 0)) for state in states)
    return ("the GPU was at its power cap: its clock varied, and so did the figures",) if capped else ()


def slowdown_reasons(states: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """Return the reasons among `SLOWDOWNS` that were active in any of the states.

    Args:
        states: Readings of `GpuState.read`. A state without `reasons` counts as one without slowdown.
    """
    seen = {name for state in states for name in decode_reasons(state.get("reasons", 0))}
    return tuple(name for name in SLOWDOWNS if name in seen)


class GpuState:
    """One GPU as NVML reports it. Use it as a context manager, or close it.

    Args:
        uuid: The UUID of a GPU or of a MIG slice. The clocks and settings of a slice are those of its GPU.

    Raises:
        BackendError: NVML cannot be imported, does not work, or does not know the GPU.
    """

    def __init__(self, uuid: str) -> None:
        try:
            import pynvml
        except ImportError as error:
            message = f"NVML cannot be imported ({error}): pip install nvidia-ml-py"
            raise BackendError(message) from error
        self._nvml: Any = pynvml
        self._settings: dict[str, str] | None = None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise BackendError(f"NVML does not work ({error}): check that nvidia-smi runs") from error
        try:
            self._handle = self._slice = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            if uuid.startswith("MIG"):
                self._handle = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self._slice)
        except pynvml.NVMLError as error:
            pynvml.nvmlShutdown()
            raise BackendError(f"NVML knows no GPU {uuid} ({error}): nvidia-smi -L lists those it knows") from error

    def read(self) -> dict[str, float]:
        """Return the current state, without the values that this GPU does not report.

        Returns:
            `sm_mhz`, `memory_mhz`, `temperature_c`, `power_w`, and `reasons` (NVML's mask, see `decode_reasons`).
        """
        nvml, handle = self._nvml, self._handle
        state: dict[str, float] = {}
        readings: tuple[tuple[str, Callable[[], float]], ...] = (
            ("sm_mhz", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            ("memory_mhz", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            ("temperature_c", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            ("power_w", lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            ("reasons", lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        )
        for name, reading in readings:
            with contextlib.suppress(nvml.NVMLError):
                state[name] = float(reading())
        return state

    def query(self, read: Callable[[Any, Any], _T]) -> _T | None:
        """Return what `read` returns for the module pynvml and the GPU's handle; None if NVML does not support it."""
        with contextlib.suppress(self._nvml.NVMLError):
            return read(self._nvml, self._handle)
        return None

    @property
    def is_divided(self) -> bool:
        """Whether this is a MIG slice, or a GPU that is divided into slices."""
        mode = self.query(lambda nvml, handle: nvml.nvmlDeviceGetMigMode(handle)[0])
        return self._slice is not self._handle or bool(mode)

    def power_limit_w(self) -> float | None:
        """Return the enforced power limit in W; None if this GPU does not report it."""
        milliwatts = self.query(lambda nvml, handle: float(nvml.nvmlDeviceGetEnforcedPowerLimit(handle)))
        return None if milliwatts is None else milliwatts / 1000

    def facts(self) -> dict[str, str]:
        """Return the GPU's settings as text, without those that this GPU does not report.

        Returns:
            `persistence`, `ecc`, `mig`, `power_limit_w`, `max_sm_mhz`, `application_sm_mhz` and `compute_mode`.
        """
        nvml, handle = self._nvml, self._handle
        modes = ("default", "exclusive thread", "prohibited", "exclusive process")
        facts: dict[str, str] = {}
        readings: tuple[tuple[str, Callable[[], str]], ...] = (
            ("persistence", lambda: _switch(nvml.nvmlDeviceGetPersistenceMode(handle))),
            ("ecc", lambda: _switch(nvml.nvmlDeviceGetEccMode(handle)[0])),
            ("mig", lambda: _switch(nvml.nvmlDeviceGetMigMode(handle)[0])),
            ("power_limit_w", lambda: f"{nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000:.0f}"),
            ("max_sm_mhz", lambda: str(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))),
            ("application_sm_mhz", lambda: str(nvml.nvmlDeviceGetApplicationsClock(handle, nvml.NVML_CLOCK_SM))),
            ("compute_mode", lambda: modes[nvml.nvmlDeviceGetComputeMode(handle)]),
        )
        for name, reading in readings:
            with contextlib.suppress(nvml.NVMLError, IndexError):
                facts[name] = reading()
        return facts

    def proof(self, states: Sequence[Mapping[str, float]]) -> dict[str, str]:
        """Return what a measurement records of the GPU. Call it while no probe runs.

        Args:
            states: Readings of `read` before, during and after the measurement.

        Returns:
            `GPU` (its settings), `GPU went` (the ranges of clock, temperature and power over the states) and `others`
            (the other processes on the GPU). Empty texts are left out.
        """
        if self._settings is None:
            self._settings = self.facts()
        units = {"sm_mhz": "MHz", "temperature_c": "C", "power_w": "W"}
        seen = {unit: [state[name] for state in states if name in state] for name, unit in units.items()}
        proof = {
            "GPU": ", ".join(f"{name} {fact}" for name, fact in self._settings.items()),
            "GPU went": ", ".join(f"{min(v):.0f} to {max(v):.0f} {unit}" for unit, v in seen.items() if v),
            "others": ", ".join(map(str, self.other_processes(()))),
        }
        return {name: text for name, text in proof.items() if text}

    def processes(self) -> dict[int, int | None]:
        """Return the device memory of each process that computes on the GPU (or on the slice), by process id.

        Returns:
            Bytes; None for a process whose memory NVML does not report.
        """
        try:
            found = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._slice)
        except self._nvml.NVMLError:
            return {}
        return {int(p.pid): None if p.usedGpuMemory is None else int(p.usedGpuMemory) for p in found}

    def process_bytes(self, pid: int) -> int | None:
        """Return the device memory of a process in bytes.

        Returns:
            None if NVML does not report it, as in a container that does not share the host's process ids.
        """
        return self.processes().get(pid)

    def other_processes(self, own: Collection[int]) -> tuple[Process, ...]:
        """Return the processes on the GPU whose process ids are not in `own`."""
        found = []
        for pid, used in self.processes().items():
            if pid not in own:
                name = "a process"
                with contextlib.suppress(self._nvml.NVMLError):
                    name = _text(self._nvml.nvmlSystemGetProcessName(pid))
                found.append(Process(pid, name, used))
        return tuple(found)

    def utilization(self) -> float:
        """Return the GPU's recent utilisation in percent; 0 if the GPU does not report it."""
        return self.query(lambda nvml, handle: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)) or 0.0

    def wait_until_free(self, own: Collection[int], wait_s: float, report: Callable[[str], None]) -> str | None:
        """Wait until no other process is busy on the GPU. Call it while no probe runs.

        Args:
            own: Process ids that do not count as others.
            wait_s: How long to wait at most, in seconds.
            report: Called with a text that names the processes, once per poll.

        Returns:
            None once the GPU is free; a text that names the busy processes if `wait_s` has passed.
        """
        deadline = time.monotonic() + wait_s
        while True:
            others, utilization = self.other_processes(own), self.utilization()
            if not others or utilization < BUSY_PERCENT:
                return None
            busy = f"{', '.join(map(str, others))}: the GPU is {utilization:.0f} % busy"
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return busy
            report(f"waiting for {busy}")
            time.sleep(min(_POLL_S, left_s))

    def close(self) -> None:
        """Shut NVML down; a second call does nothing."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            nvml.nvmlShutdown()

    def __enter__(self) -> GpuState:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def list_uuids() -> tuple[str, ...]:
    """Return the UUIDs of every MIG slice, and of every GPU that is not divided into slices, as NVML lists them.

    Raises:
        BackendError: NVML cannot be imported, or does not work.
    """
    try:
        import pynvml
    except ImportError as error:
        raise BackendError(f"NVML cannot be imported ({error}): pip install nvidia-ml-py") from error
    try:
        pynvml.nvmlInit()
        try:
            found: list[str] = []
            for number in range(pynvml.nvmlDeviceGetCount()):
                gpu = pynvml.nvmlDeviceGetHandleByIndex(number)
                slices = list(_slices(pynvml, gpu))
                found += [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in slices or [gpu]]
            return tuple(found)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise BackendError(f"NVML does not work ({error}): check that nvidia-smi runs") from error


def _slices(nvml: Any, gpu: Any) -> Iterator[Any]:
    """Yield the handles of the MIG slices of a GPU; none if it has no MIG or MIG is off."""
    try:
        if nvml.nvmlDeviceGetMigMode(gpu)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return
        places = nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)
    except nvml.NVMLError:
        return
    for place in range(places):
        with contextlib.suppress(nvml.NVMLError):  # there is no slice at this place
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, place)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def advice(facts: Mapping[str, str]) -> tuple[str, ...]:
    """Return settings that an administrator could change to get steadier figures; nothing here changes them.

    Args:
        facts: The result of `GpuState.facts`.
    """
    found = []
    if facts.get("persistence") == "off":
        found.append(
            "persistence mode is off, so the first process waits for the GPU to start: turn it on with nvidia-smi -pm 1"
        )
    if "max_sm_mhz" in facts:
        found.append(f"clocks are not locked: lock them below {facts['max_sm_mhz']} MHz with nvidia-smi -lgc MHZ")
    if facts.get("compute_mode") == "default":
        found.append("any process may use the GPU at any time: give CI a GPU, or a MIG slice, of its own")
    return tuple(found)


def _switch(value: int) -> str:
    return "on" if value else "off"
