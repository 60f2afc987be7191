"""What NVML says of a GPU: clocks, temperature, power, why clocks are low, and who else is there.

The only room that imports NVML. It reads, and never sets anything.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pytest_trt.errors import BackendError

REASONS: Mapping[str, int] = {
    "idle": 0x1, "application clocks": 0x2, "power cap": 0x4, "hardware slowdown": 0x8, "sync boost": 0x10,
    "software thermal slowdown": 0x20, "hardware thermal slowdown": 0x40, "power brake": 0x80, "display clocks": 0x100,
}  # fmt: skip
"""NVML's clocks event reasons (nvmlClocksEventReasons)."""

SLOWED = ("hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "power brake")
"""Those under which a figure says nothing about the engine. A power cap is how the card works under load."""

BUSY_PERCENT = 5
"""From this utilisation on, while nothing of ours runs, somebody else is busy."""

_POLL_S = 0.5


@dataclasses.dataclass(frozen=True)
class Process:
    """Another process on the GPU."""

    pid: int
    name: str
    memory_bytes: int | None

    def __str__(self) -> str:
        size = f", {self.memory_bytes / 1e6:.0f} MB" if self.memory_bytes is not None else ""
        return f"{self.name} (pid {self.pid}{size})"


def decode_reasons(mask: float) -> tuple[str, ...]:
    """The names of the reasons in NVML's mask."""
    return tuple(name for name, bit in REASONS.items() if int(mask) & bit)


def slowdown_reasons(states: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """What slowed the GPU in any of these states, so that what was measured is invalid."""
    seen = {name for state in states for name in decode_reasons(state.get("reasons", 0))}
    return tuple(name for name in SLOWED if name in seen)


class GpuState:
    """NVML's view of one GPU (or of the one that a MIG slice is of), by UUID. Close it.

    Raises BackendError, with what to install, where NVML is absent or does not know the GPU.
    """

    def __init__(self, uuid: str) -> None:
        try:
            import pynvml
        except ImportError as error:
            message = f"NVML cannot be imported ({error}): pip install nvidia-ml-py"
            raise BackendError(message) from error
        self._nvml: Any = pynvml
        self._setup: dict[str, str] | None = None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise BackendError(f"NVML does not work ({error}): see what nvidia-smi says") from error
        try:
            self._handle = self._slice = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            if uuid.startswith("MIG"):
                self._handle = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self._slice)
        except pynvml.NVMLError as error:
            pynvml.nvmlShutdown()
            raise BackendError(f"NVML knows no GPU {uuid}: {error}") from error

    def read(self) -> dict[str, float]:
        """The state now: `sm_mhz`, `memory_mhz`, `temperature_c`, `power_w`, `reasons` (NVML's mask); what this GPU
        does not tell is left out."""
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

    def facts(self) -> dict[str, str]:
        """How the GPU is set up, as text by name: `persistence`, `ecc`, `mig`, `power_limit_w`, `max_sm_mhz`,
        `application_sm_mhz`, `compute_mode`."""
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
        """What to record of a measurement: how the GPU is set up, who else is on it now that nothing of ours is, and
        from what to what clock, temperature and power went over `states`."""
        if self._setup is None:
            self._setup = self.facts()
        units = {"sm_mhz": "MHz", "temperature_c": "C", "power_w": "W"}
        seen = {unit: [state[name] for state in states if name in state] for name, unit in units.items()}
        went = ", ".join(f"{min(v):.0f} to {max(v):.0f} {unit}" for unit, v in seen.items() if v)
        others = ", ".join(map(str, self.others(())))
        said = {"GPU": ", ".join(f"{n} {fact}" for n, fact in self._setup.items()), "GPU went": went, "others": others}
        return {name: text for name, text in said.items() if text}

    def processes(self) -> dict[int, int | None]:
        """The device memory, in bytes, of each process that computes on the GPU (or on the slice), by its pid."""
        try:
            found = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._slice)
        except self._nvml.NVMLError:
            return {}
        return {int(p.pid): None if p.usedGpuMemory is None else int(p.usedGpuMemory) for p in found}

    def others(self, own: Collection[int]) -> tuple[Process, ...]:
        """The processes on the GPU that are not `own`."""
        found = []
        for pid, used in self.processes().items():
            if pid not in own:
                name = "a process"
                with contextlib.suppress(self._nvml.NVMLError):
                    said = self._nvml.nvmlSystemGetProcessName(pid)
                    name = said if isinstance(said, str) else said.decode(errors="replace")
                found.append(Process(pid, name, used))
        return tuple(found)

    def busy(self) -> float:
        """The share of the last moments in which something computed, in percent; 0 where the GPU does not tell."""
        with contextlib.suppress(self._nvml.NVMLError):
            return float(self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)
        return 0.0

    def wait_until_free(self, own: Collection[int], wait_s: float, tell: Callable[[str], None]) -> str | None:
        """Wait, while nothing of ours runs, until nobody else is busy on the GPU. `tell` hears what is waited for.

        Returns None, or who was still busy after `wait_s` seconds.
        """
        deadline = time.monotonic() + wait_s
        while True:
            others, busy = self.others(own), self.busy()
            if not others or busy < BUSY_PERCENT:
                return None
            who = f"{', '.join(map(str, others))}: the GPU is {busy:.0f} % busy"
            left = deadline - time.monotonic()
            if left <= 0:
                return who
            tell(f"waiting for {who}")
            time.sleep(min(_POLL_S, left))

    def close(self) -> None:
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            nvml.nvmlShutdown()

    def __enter__(self) -> GpuState:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def advice(facts: Mapping[str, str]) -> tuple[str, ...]:
    """What an administrator could set to make figures steadier; this project sets nothing."""
    said = []
    if facts.get("persistence") == "off":
        said.append("persistence mode is off, so that the first process pays for waking the GPU: nvidia-smi -pm 1")
    if "max_sm_mhz" in facts:
        said.append(f"clocks are free to move: nvidia-smi -lgc MHZ holds them, below {facts['max_sm_mhz']} MHz")
    if facts.get("compute_mode") == "default":
        said.append("any process may use the GPU at any time: give CI a GPU, or a MIG slice, of its own")
    return tuple(said)


def _switch(value: int) -> str:
    return "on" if value else "off"
