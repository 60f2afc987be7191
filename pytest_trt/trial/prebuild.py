"""Build the engines of many tests before any of them runs: one at a time on each card.

Each card has a thread, with a bench of its own that uses no other card. Threads, workers and runs that want one engine
do not wait for each other: whoever holds the lock of the engine builds it, and the others continue with the next one.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from pytest_trt.core.records import Environment
from pytest_trt.errors import TrtError
from pytest_trt.spec.declaration import Declaration
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.pool import place_of

_SHOW_S = 0.5
"""How often the progress of all cards is shown."""


class _BuiltElsewhere(Exception):
    """Another thread or process builds the engine."""


class _Interrupted(Exception):
    """The run was interrupted."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A frozen record of an engine that a test needs: the test, its declaration, and the folders of its files."""

    node_id: str
    declaration: Declaration
    folders: tuple[Path, ...]

    @property
    def is_declared(self) -> bool:
        """Whether the markers name a model to build; otherwise a fixture does, or the model is a plan."""
        spec = self.declaration.spec
        return any(source is not None for source in (spec.path, spec.onnx, spec.build)) and not spec.is_prebuilt

    @property
    def calls_user(self) -> bool:
        """Whether functions of the user make the engine. They are called in the main thread only."""
        spec = self.declaration.spec
        return any(callable(source) for source in (spec.onnx, spec.build, spec.calibration))


@dataclasses.dataclass(frozen=True)
class Prebuilt:
    """A frozen record of what was built: the number of engines, and the number of cards that built them."""

    engines: int
    cards: int


class _CaseWithoutWaiting(Case):
    """A case that gives up if another thread or process builds its engine."""

    def _report_waiting(self, text: str) -> None:
        raise _BuiltElsewhere


class Prebuild:
    """The builds of one process.

    Args:
        bench: The resources of the run.
        wanted: The engines.
        number: The number of this process among those that prebuild, from 0. It uses every `processes`-th card.
        processes: The number of processes.
    """

    def __init__(self, bench: Bench, wanted: Sequence[Wanted], *, number: int = 0, processes: int = 1) -> None:
        self._bench, self._number, self._processes = bench, number, processes
        distinct = {(repr(one.declaration.spec), repr(one.declaration.run), one.folders): one for one in wanted}
        self._wanted = [one for one in distinct.values() if one.is_declared]
        self._left: deque[tuple[Wanted, frozenset[str]]] = deque()
        self._choosing = threading.Lock()
        self._stopped = threading.Event()
        self._later: list[Wanted] = []
        self._built: list[str] = []
        self._texts: dict[str, str] = {}
        self._errors: list[BaseException] = []

    def run(self) -> Prebuilt:
        """Build every engine that is not in the cache, and wait until no other process builds one of them.

        An engine that cannot be built is left out: its test fails with the error.
        """
        cards = self._distribute()
        mine = list(cards.values())[self._number :: self._processes]
        threads = [threading.Thread(target=self._use_card, args=(card,), daemon=True) for card in mine]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_SHOW_S)
                    self._show()
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()
            self._bench.say("")
        for error in self._errors:
            raise error
        later = [*self._later, *(one for one, _ in self._left)]
        for one in later:
            self._provide(Case(self._bench, one.node_id, one.declaration, one.folders), "this process")
        return Prebuilt(len(self._built), len(set(self._built)))

    def _distribute(self) -> dict[str, Environment]:
        """Queue the engines, each with the cards that may build it, and return all these cards."""
        cards: dict[str, Environment] = {}
        for one in self._wanted:
            try:
                name = self._bench.backend_name(one.declaration.spec)
                alike = {place_of(card): card for card in self._bench.pool.alike(name, one.declaration.spec.device)}
            except TrtError:  # the test fails with it, or needs no card
                alike = {}
            if one.calls_user or not alike:
                self._later.append(one)
            else:
                cards.update(alike)
                by_host: dict[str, list[str]] = {}
                for key, card in alike.items():
                    by_host.setdefault(card.host_name, []).append(key)
                self._left += [(one, frozenset(keys)) for keys in by_host.values()]  # each host has a cache of its own
        return cards

    def _use_card(self, card: Environment) -> None:
        """Build on one card what no other one builds, until nothing is left for it."""
        key = place_of(card)

        def say(text: str) -> None:
            self._texts[key] = text
            if self._stopped.is_set():
                raise _Interrupted

        settings = self._bench.settings
        settings = dataclasses.replace(settings, hosts=tuple(h for h in settings.hosts if h.name == card.host_name))
        if card.device_uuid is not None:
            settings = dataclasses.replace(settings, device=(card.device_uuid,))
        try:
            with Bench(settings, say, self._bench.python) as bench:
                while (one := self._next(key)) is not None:
                    self._provide(_CaseWithoutWaiting(bench, one.node_id, one.declaration, one.folders), key, one)
        except _Interrupted:
            return
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._errors.append(error)
            self._stopped.set()
        finally:
            self._texts.pop(key, None)

    def _next(self, key: str) -> Wanted | None:
        with self._choosing:
            if self._stopped.is_set():
                return None
            for entry in self._left:
                if key in entry[1]:
                    self._left.remove(entry)
                    return entry[0]
        return None

    def _provide(self, case: Case, key: str, one: Wanted | None = None) -> None:
        try:
            with case:
                if case.provide().built:
                    self._built.append(key)
                it = case.declaration.generation
                if it is not None and case.plan_generation(it.prompt, it.steps, it.prefill).prefill_built:
                    self._built.append(key)
        except _BuiltElsewhere:
            if one is not None:
                self._later.append(one)
        except TrtError:  # the test fails with it
            return

    def _show(self) -> None:
        building = "; ".join(f"{key[:12]}: {text}" for key, text in sorted(self._texts.items()) if text)
        if building:
            self._bench.say(f"building engines before the tests: {building}")
