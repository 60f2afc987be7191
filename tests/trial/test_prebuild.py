"""Test that engines are built before tests need them, once each, on every card."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_trt.engine.backends.base import BuildJob, BuildReport
from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.prebuild import Prebuild, Prebuilt, Wanted


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(Settings(backend="onnxruntime", cache_dir=str(tmp_path / "cache"))) as bench:
        yield bench


def wanted(folder: Path, name: str = "a::test", batch: int | None = None, **spec: object) -> Wanted:
    declaration = Declaration(spec=EngineSpec(**spec), run=RunShape(batch=batch))  # type: ignore[arg-type]
    return Wanted(name, declaration, (folder,))


def is_cached(bench: Bench, one: Wanted) -> bool:
    with Case(bench, one.node_id, one.declaration, one.folders) as case:
        return not case.engine.built


def test_each_engine_is_built_once_and_found_in_the_cache(bench, save_model, tmp_path):
    save_model("a.onnx")
    save_model("b.onnx", layers=3)
    engines = [wanted(tmp_path, path="a.onnx", batch=batch) for batch in (1, 2)] + [wanted(tmp_path, path="b.onnx")]
    assert Prebuild(bench, engines).run() == Prebuilt(2, 1)
    assert all(is_cached(bench, one) for one in engines)
    assert Prebuild(bench, engines).run() == Prebuilt(0, 0)


def test_cards_build_at_the_same_time(bench, save_model, tmp_path, monkeypatch):
    cpu = bench.environment("onnxruntime")
    cards = tuple(dataclasses.replace(cpu, device_uuid=f"CPU-{n}") for n in range(2))
    monkeypatch.setattr(bench.pool, "alike", lambda backend, words: cards)
    both = threading.Barrier(2, timeout=20)
    build = Bench.build

    def build_beside_another(self: Bench, job: BuildJob, *arguments: object) -> BuildReport:
        both.wait()
        return build(self, job, *arguments)

    # Both threads lock the one CPU of this host, unlike two cards.
    monkeypatch.setattr(Case, "_build", lambda self, job: build_beside_another(self._bench, job, self.environment))
    engines = [wanted(tmp_path, path=save_model(f"{n}.onnx", layers=n + 1).name) for n in range(4)]
    assert Prebuild(bench, engines).run() == Prebuilt(4, 2)


def test_one_of_two_processes_uses_one_of_two_cards(bench, save_model, tmp_path, monkeypatch):
    cpu = bench.environment("onnxruntime")
    cards = tuple(dataclasses.replace(cpu, device_uuid=f"CPU-{n}") for n in range(2))
    monkeypatch.setattr(bench.pool, "alike", lambda backend, words: cards)
    used: list[str] = []
    monkeypatch.setattr(Prebuild, "_use_card", lambda self, card: used.append(card.device_uuid))
    save_model("m.onnx")
    assert Prebuild(bench, [wanted(tmp_path, path="m.onnx")], number=1, processes=2).run().engines == 1
    assert used == ["CPU-1"], "what no card has built, the run itself builds"


def test_functions_of_the_user_are_called_in_the_main_thread(bench, save_model, tmp_path):
    threads: list[threading.Thread] = []

    def model() -> Path:
        threads.append(threading.current_thread())
        return save_model()

    assert Prebuild(bench, [wanted(tmp_path, onnx=model)]).run().engines == 1
    assert set(threads) == {threading.main_thread()}


def test_an_engine_that_cannot_be_built_is_left_to_its_test(bench, save_model, tmp_path):
    save_model("a.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    engines = [wanted(tmp_path, path="broken.onnx"), wanted(tmp_path), wanted(tmp_path, path="a.onnx")]
    assert Prebuild(bench, engines).run() == Prebuilt(1, 1)


def test_an_engine_that_another_process_builds_is_waited_for_at_the_end(bench, save_model, tmp_path):
    first, second = (
        wanted(tmp_path, path=save_model(name, layers=n).name) for n, name in ((1, "a.onnx"), (2, "b.onnx"))
    )
    with Case(bench, "a", first.declaration, first.folders) as case:
        digest = case.engine.digest
    other = Bench(dataclasses.replace(bench.settings))
    released = threading.Event()

    def hold() -> None:
        with other.store.lock(digest, lambda text: None):
            holding.set()
            released.wait(60)

    holding = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait(60)
    prebuild = Prebuild(bench, [first, second])
    provide = prebuild._provide

    def release_at_the_end(case: Case, key: str, one: Wanted | None = None) -> None:
        if one is None:
            assert is_cached(other, second), "it did not wait for the first engine"
            released.set()
        provide(case, key, one)

    prebuild._provide = release_at_the_end  # type: ignore[method-assign]
    assert prebuild.run().engines == 1
    assert released.is_set()
    holder.join(60)
    other.close()


def test_an_interrupted_run_ends_its_builds(bench, save_model, tmp_path, monkeypatch):
    save_model()
    before = set(threading.enumerate())

    def interrupt(self: Prebuild) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Prebuild, "_show", interrupt)
    monkeypatch.setattr("pytest_trt.trial.prebuild._SHOW_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        Prebuild(bench, [wanted(tmp_path, path="m.onnx")]).run()
    assert set(threading.enumerate()) == before
