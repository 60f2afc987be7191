"""The agent: it does on a host what a session elsewhere asks for, until the session ends the link.

Each request is served in a thread of its own, since some wait: for a lock, or for a GPU. Processes are started and
ended in one thread that lasts, because the kernel ends a process when the thread that started it ends
(PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib.util
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from pytest_trt.core import codec
from pytest_trt.core.backends import BACKENDS
from pytest_trt.errors import CacheError, HostError, TrtError
from pytest_trt.measure.energy_meter import EnergyMeter, RaplMeter, Watch
from pytest_trt.measure.gpu_energy import GpuEnergyMeter
from pytest_trt.measure.probe.binding import Binding
from pytest_trt.measure.probe.client import Probe, with_log
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.hosts.cache_requests import CacheRequests
from pytest_trt.trial.hosts.link import Link, LinkLost
from pytest_trt.trial.hosts.local import LocalHost
from pytest_trt.trial.hosts.relay import Relay

_END_S = 8.0
"""How long the agent may take to end after the session has, in seconds, before it exits without more ado."""

_WITH_STATE = frozenset(("block", "throughput"))
"""The verbs of a probe after which the state of the device is read."""

_GPU_CALLS = frozenset(("read", "power_limit_w", "facts", "proof", "process_bytes", "processes", "other_processes"))


def serve(reads: int, writes: int, request: Mapping[str, Any], cache: str) -> None:
    """Serve a session until it ends the link, then end every process that was started for it.

    Args:
        reads: The descriptor of the link to read from.
        writes: The descriptor to write to.
        request: What the session sent at the start.
        cache: The folder of the engine cache.
    """
    settings = Settings(
        cache_dir=cache,
        cache_bytes=request["cache_bytes"],
        no_cache=request["no_cache"],
        lock_dir=request["lock_dir"],
    )
    link = Link(reads, writes, request["silence_s"])
    for ending in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # of a terminal, or of a scheduler
        signal.signal(ending, _end)
    link.keep_alive()
    agent = Agent(link, settings, request["python"] or sys.executable)
    try:
        agent.serve()
    finally:
        threading.Timer(_END_S, lambda: os._exit(1)).start()
        agent.close()
        os._exit(0)  # threads that still wait for a lock end with the process, and so do their locks


def _end(*_: object) -> NoReturn:
    raise SystemExit(1)


class Agent:
    """Serves the requests of one session.

    Args:
        link: The link to the session.
        settings: The settings of this host.
        python: The interpreter that builds and runs engines.
    """

    def __init__(self, link: Link, settings: Settings, python: str = sys.executable) -> None:
        self._link = link
        self._waiting = threading.local()
        self._host = LocalHost(settings, lambda text: self._waiting.report(text), python)
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="trt-processes")
        self._probes: dict[int, tuple[ProbeServer, Probe]] = {}
        self._relays: dict[int, Relay] = {}
        self._held: dict[int, contextlib.ExitStack] = {}
        self._meters: dict[str | None, EnergyMeter] = {}
        self._watches: dict[int, Watch] = {}
        self._read_state: Callable[[], Mapping[str, float]] | None = None
        self._count = 0
        self._requests: dict[str, Callable[..., Any]] = {
            name: getattr(self, name)
            for name in (
                "facts", "has_package", "list_uuids", "version", "fork", "reap", "gpu", "wait_until_free", "cpu_read",
                "cpu_proof", "lock", "claim", "lock_engine", "unlock", "meter", "watch",
                "watched",
            )
        } | CacheRequests(lambda: self._host.engines).by_name  # fmt: skip

    def serve(self) -> None:
        """Serve requests until the link is lost."""
        while True:
            try:
                message, payload = self._link.receive()
            except LinkLost:
                return
            if "probe" in message:
                self._pass_on(message, payload)
            else:
                threading.Thread(target=self._answer, args=(message, payload), daemon=True).start()

    def _pass_on(self, message: Mapping[str, Any], payload: bytearray) -> None:
        relay = self._relays.get(message["probe"])
        if relay is None:
            return
        if "closed" in message:
            relay.close()
        else:
            relay.deliver(message, payload)

    def _answer(self, message: Mapping[str, Any], payload: bytearray) -> None:
        number, arguments = message["id"], dict(message["arguments"])
        if message["do"] in ("lock", "lock_engine", "wait_until_free"):
            arguments["progress"] = lambda text: self._link.send({"id": number, "progress": text})
        if payload:
            arguments["payload"] = payload
        with contextlib.suppress(LinkLost):
            try:
                found = self._requests[message["do"]](**arguments)
            except Exception as error:  # noqa: BLE001 - sent to the session, which raises it again
                self._link.send({"id": number, "error": _describe(error)})
            else:
                result, data = found if isinstance(found, tuple) else (found, b"")
                self._link.send({"id": number, "result": result}, [data])

    def facts(self) -> dict[str, Any]:
        """Return what a session needs to know before the first test."""
        sees_gpu = self._host.sees_gpu()
        runs_plans = any(_has(name) for name, info in BACKENDS.items() if info.kind == "gpu" and info.plan_product)
        needed = ["numpy"]
        if sees_gpu and runs_plans:
            needed += ["cuda", "pynvml"]
        elif _has("onnxruntime"):
            needed += ["onnx"]
        return {
            "python": ".".join(map(str, sys.version_info[:3])),
            "sees_gpu": sees_gpu,
            "visible_devices": self._host.visible_devices(),
            "missing": [name for name in needed if not _has(name)],
        }

    def has_package(self, module: str) -> bool:
        """Return whether this interpreter has a package."""
        return self._host.has_package(module)

    def list_uuids(self) -> list[str]:
        """Return the UUIDs of MIG slices, and of GPUs without MIG."""
        return list(self._host.list_uuids())

    def version(self, backend: str) -> str:
        """Return the version of a backend's package, after starting its probe server."""
        return self._starter.submit(lambda: self._host.server(backend).version).result()

    def fork(self, backend: str, binding: dict[str, Any]) -> dict[str, int]:
        """Fork a probe, and return its number and its process id."""
        return self._starter.submit(self._fork, backend, codec.decode(Binding, binding)).result()

    def _fork(self, backend: str, binding: Binding) -> dict[str, int]:
        server = self._host.server(backend)
        server.binding = binding
        probe = server.fork()
        self._count += 1
        number = self._count
        self._probes[number] = server, probe
        log = functools.partial(_last_lines, probe.log)
        self._relays[number] = Relay(self._link, number, probe.channel, self._state_beside, log)
        return {"probe": number, "pid": probe.pid}

    def _state_beside(self, verb: str) -> dict[str, Any]:
        """Return the state of the device after a block, which the session would ask for next."""
        if verb not in _WITH_STATE or self._read_state is None:
            return {}
        with contextlib.suppress(TrtError):  # the session asks again, and receives the error
            return {"state": self._read_state()}
        return {}

    def reap(self, probe: int, kill: bool) -> int:
        """Wait until a probe ends, or kill it, and return its wait status."""
        server, ended = self._probes.pop(probe)
        status = self._starter.submit(server.reap, ended.pid, kill=kill).result()
        relay = self._relays.pop(probe)
        relay.close()
        return int(status)

    def gpu(self, uuid: str, call: str, arguments: Sequence[Any] = ()) -> Any:
        """Return what a method of `GpuState` returns, as JSON values."""
        if call not in _GPU_CALLS:
            raise HostError(f"there is no reading {call!r} of a GPU")
        if call == "read":
            self._read_state = self._host.gpu(uuid).read
        return codec.encode(getattr(self._host.gpu(uuid), call)(*arguments))

    def wait_until_free(
        self, uuid: str, own: Sequence[int], wait_s: float, progress: Callable[[str], None]
    ) -> str | None:
        """Wait until no other process is busy on a GPU."""
        return self._host.gpu(uuid).wait_until_free(own, wait_s, progress)

    def cpu_read(self) -> dict[str, float]:
        """Return the load of this host."""
        self._read_state = self._host.cpu.read
        return self._host.cpu.read()

    def cpu_proof(self, states: Sequence[Mapping[str, float]]) -> dict[str, str]:
        """Return what a measurement records of this host."""
        return self._host.cpu.proof(states)

    def meter(self, uuid: str | None) -> str:
        """Open an energy counter, and return its name."""
        self._meters[uuid] = RaplMeter() if uuid is None else GpuEnergyMeter(self._host.gpu(uuid))
        return self._meters[uuid].name

    def watch(self, uuid: str | None) -> int:
        """Read an energy counter from now on, and return the number that ends that."""
        self._count += 1
        self._watches[self._count] = Watch(self._meters[uuid])
        self._watches[self._count].__enter__()
        return self._count

    def watched(self, held: int) -> list[tuple[float, float, float | None]]:
        """Stop reading an energy counter, and return the readings."""
        watch = self._watches.pop(held)
        watch.__exit__(None)
        return [(one.time_s, one.joules, one.watts) for one in watch.readings]

    def lock(self, card: str, title: str, progress: Callable[[str], None]) -> int:
        """Lock a card, and return the number that unlocks it."""
        self._waiting.report = progress
        return self._hold(self._host.lock(card, title))

    def claim(self, cards: Sequence[str]) -> str:
        """Return the card that the session should use."""
        return self._host.claim(cards)

    def lock_engine(self, digest: str, progress: Callable[[str], None]) -> int:
        """Lock an engine of the cache, and return the number that unlocks it."""
        return self._hold(self._host.engines.lock(digest, progress))

    def _hold(self, context: contextlib.AbstractContextManager[Any]) -> int:
        stack = contextlib.ExitStack()
        stack.enter_context(context)
        self._count += 1
        self._held[self._count] = stack
        return self._count

    def unlock(self, held: int) -> None:
        """Unlock a card or an engine."""
        self._held.pop(held).close()

    def close(self) -> None:
        """End every process that was started for the session, and release its locks."""
        with contextlib.suppress(Exception):
            self._starter.submit(self._host.close).result(_END_S)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _last_lines(log: Path) -> str:
    return "\n".join(with_log("", log)[1:])


def _describe(error: Exception) -> dict[str, str]:
    """Return an error as `client.raise_error` raises it again."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        text = f"{error.filename or 'the cache'}: {error.strerror}: pytest-trt cache prune, or make space there"
        return {"type": CacheError.__name__, "message": text}
    if not isinstance(error, TrtError):
        traceback.print_exc()
        return {"type": HostError.__name__, "message": f"{type(error).__name__}: {error}"}
    return {"type": type(error).__name__, "message": str(error)}
