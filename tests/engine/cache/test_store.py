"""Test the engine cache on a real disk, with processes that are really killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.cache.digest import file_sha256
from pytest_trt.engine.cache.entry import Entry, Meta
from pytest_trt.engine.cache.store import Store
from pytest_trt.errors import CacheError

NOBODY = 65534
ENVIRONMENT = Environment(device="a device", kind="cpu", backend="a backend", backend_version="1.0")


def digest(number: int) -> str:
    return f"{number:064x}"


def silent(text: str) -> None:
    pass


def add(store: Store, number: int, plan: bytes = b"plan", *, build_s: float = 1.0) -> Entry:
    with store.lock(digest(number), silent), store.draft(digest(number)) as draft:
        (draft / "plan").write_bytes(plan)
        meta = Meta(digest=digest(number), spec={"precision": "fp16"}, environment=ENVIRONMENT, build_s=build_s)
        return store.save(draft, meta, (Layer("conv", kind="Convolution"),))


def find(store: Store, number: int) -> tuple[Entry | None, str]:
    with store.lock(digest(number), silent):
        return store.find(digest(number))


def filled(folder: Path, count: int, size: int = 10_000) -> None:
    """Fill a cache with entries 0 to `count` - 1, last used in that order, by processes that have ended."""
    with Store(folder, 10**9) as store:
        for number in range(count):
            add(store, number, bytes(size))
            os.utime(folder / digest(number), (1000 + number, 1000 + number))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "cache", 10**9) as opened:
        yield opened


@contextlib.contextmanager
def ordinary_user() -> Iterator[Path]:
    """Provide a folder of an ordinary user, whom permissions bind. Root becomes that user meanwhile."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_saved_engine_is_found_by_another_store(store: Store) -> None:
    saved = add(store, 1, b"bytes", build_s=2.5)
    with Store(store.folder, 10**9) as other:
        found, fault = find(other, 1)
    assert found == saved
    assert fault == ""
    assert found is not None
    assert found.plan.read_bytes() == b"bytes"
    assert found.meta.build_s == 2.5
    assert found.layers == (Layer("conv", kind="Convolution"),)
    assert list((store.folder / "tmp").iterdir()) == []


def test_nothing_is_found_in_an_empty_store(store: Store) -> None:
    assert find(store, 1) == (None, "")


def test_folder_is_private(tmp_path: Path) -> None:
    folder = Store(tmp_path / "a" / "cache", 10**9).folder
    assert folder.stat().st_mode & 0o7777 == 0o700


def test_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(CacheError) as caught:
        Store(tmp_path, 10**9)
    message = (
        f"engine cache {tmp_path} is writable by others (mode 0777): chmod 700 it, or name another with --trt-cache-dir"
    )
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, NOBODY, NOBODY)
    foreign = tmp_path if os.geteuid() == 0 else Path("/")
    with pytest.raises(CacheError, match=r"belongs to another user .* name another with --trt-cache-dir"):
        Store(foreign, 10**9)


def test_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    old = tmp_path / "tmp" / "somebody's"
    old.mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    os.utime(old, (1000, 1000))
    with pytest.raises(CacheError, match=r"is no engine cache: it holds notes\.txt, and .* new or empty folder"):
        Store(tmp_path, 1)
    assert old.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "tmp"]


def test_cache_with_additional_files_is_still_a_cache(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    (tmp_path / "notes.txt").write_text("mine")
    assert len(Store(tmp_path, 10**9).list()) == 1


def test_cache_without_its_tag_is_recognised_by_its_content(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    (tmp_path / "CACHEDIR.TAG").unlink()
    (tmp_path / "lost+found").mkdir()
    assert len(Store(tmp_path, 10**9).list()) == 1
    assert (tmp_path / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_unwritable_folder_is_named_with_the_remedy() -> None:
    with ordinary_user() as folder:
        folder.chmod(0o500)
        with pytest.raises(CacheError, match=r"cannot be used \(Permission denied.*--trt-cache-dir.*--trt-no-cache"):
            Store(folder / "cache", 10**9)
        folder.chmod(0o700)
        with Store(folder / "cache", 10**9) as store:
            (store.folder / "tmp").chmod(0o500)
            with pytest.raises(CacheError, match="Permission denied"):
                add(store, 1)
            (store.folder / "tmp").chmod(0o700)
            assert find(store, 1) == (None, "")


def test_folder_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="Not a directory"):
        Store(tmp_path / "file" / "cache", 10**9)


def test_full_disk_leaves_no_partial_entry(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files simulates a full disk."""
    add(store, 1, b"old")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the limit would truncate bytecode, too
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        layers = tuple(Layer(f"layer {i}") for i in range(100))
        with store.lock(digest(1), silent), store.draft(digest(1)) as draft:
            (draft / "plan").write_bytes(b"new")
            meta = Meta(digest=digest(1), spec={}, environment=ENVIRONMENT, build_s=1.0)
            with pytest.raises(CacheError, match=r"has no space \(.*MB free\): pytest-trt cache prune, name another"):
                store.save(draft, meta, layers)
        with pytest.raises(CacheError, match="has no space"):
            store.save_model("model.onnx", lambda path: path.write_bytes(bytes(5000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    found, _ = find(store, 1)
    assert found is not None
    assert found.plan.read_bytes() == b"old"
    assert list((store.folder / "tmp").iterdir()) == []


@pytest.mark.parametrize("name", ["plan", "layers.json", "meta.json"])
@pytest.mark.parametrize("damage", ["changed", "shortened", "missing"])
def test_modified_entry_is_not_found(store: Store, name: str, damage: str) -> None:
    file = add(store, 1, b"the plan").folder / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(
            content[:-1] + bytes([content[-1] ^ 1]) if damage == "changed" else content[: len(content) // 2]
        )
    found, fault = find(store, 1)
    assert found is None
    assert "is not what was saved" in fault
    assert digest(1) in fault
    add(store, 1, b"the plan")
    assert find(store, 1)[1] == ""


@pytest.mark.parametrize("layers", ["[" * 100_000, "[" + "{}," * 5_000_000 + "{}]", '[{"name": NaN}]', "", "{}"])
def test_hostile_layers_with_a_valid_hash_are_not_trusted(store: Store, layers: str) -> None:
    folder = add(store, 1).folder
    (folder / "layers.json").write_text(layers)
    meta = json.loads((folder / "meta.json").read_text())
    meta["files"]["layers.json"] = file_sha256(folder / "layers.json")
    (folder / "meta.json").write_text(json.dumps(meta))
    found, fault = find(store, 1)
    assert found is None
    assert "layers.json" in fault


@pytest.mark.parametrize("change", ['"schema": 1|"schema": 2', '"plan": "|"../plan": "', '"digest": "0|"digest": "1'])
def test_modified_meta_is_not_trusted(store: Store, change: str) -> None:
    file = add(store, 1).folder / "meta.json"
    old, new = change.split("|")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert find(store, 1)[0] is None


def test_folder_instead_of_a_file_is_not_trusted(store: Store) -> None:
    plan = add(store, 1).plan
    plan.unlink()
    plan.mkdir()
    assert find(store, 1)[0] is None
    add(store, 1)
    assert find(store, 1)[0] is not None


def test_prune_removes_the_least_recently_used_entries(tmp_path: Path) -> None:
    filled(tmp_path / "cache", 5)
    with Store(tmp_path / "cache", 10**9) as store:
        each = store.list()[0].bytes
        find(store, 0)  # the oldest is used again
    with Store(tmp_path / "cache", 10**9) as store:
        removed = store.prune(max_bytes=3 * each)
        assert [one.key for one in removed] == [digest(1), digest(2)]
        assert [one.key for one in store.list()] == [digest(3), digest(4), digest(0)]


def test_prune_by_age(tmp_path: Path) -> None:
    filled(tmp_path / "cache", 3)
    with Store(tmp_path / "cache", 10**9) as store:
        os.utime(store.folder / digest(2))
        store.prune(max_age_s=3600)
        assert [one.key for one in store.list()] == [digest(2)]


def test_pinned_entry_is_cleared_but_never_pruned(tmp_path: Path) -> None:
    filled(tmp_path / "cache", 2)
    with Store(tmp_path / "cache", 10**9) as store:
        store.pin(digest(0))
        store.prune(max_bytes=0, max_age_s=0)
        assert [(one.key, one.pinned) for one in store.list()] == [(digest(0), True)]
        store.pin(digest(0), pinned=False)
        store.pin(digest(0), pinned=False)
        store.prune(max_bytes=0)
        assert store.list() == ()
        with pytest.raises(CacheError, match=f"no engine {digest(0)}"):
            store.pin(digest(0))
    filled(tmp_path / "cache", 1)
    with Store(tmp_path / "cache", 10**9) as store:
        store.pin(digest(0))
        store.timing_cache("10.0", "a device").touch()
        assert [one.key for one in store.clear()] == [digest(0)]
        assert list((store.folder / "timing").iterdir()) == []


def test_entry_in_use_is_not_removed(store: Store) -> None:
    entry = add(store, 1)
    with Store(store.folder, 10**9) as other:
        assert other.prune(max_bytes=0) == ()
        assert other.clear() == ()
        assert entry.plan.exists()
        store.close()
        assert [one.key for one in other.prune(max_bytes=0)] == [digest(1)]


def test_build_keeps_the_cache_within_its_size(tmp_path: Path) -> None:
    filled(tmp_path / "cache", 3)
    with Store(tmp_path / "cache", 25_000) as store:
        add(store, 9, bytes(10_000))
        assert [one.key for one in store.list()] == [digest(2), digest(9)]


def test_list_describes_engines(store: Store) -> None:
    add(store, 1)
    store.save_model("model.onnx", lambda path: path.write_bytes(b"a model"))
    (store.folder / digest(2)).mkdir()
    metas = {one.key: one.meta for one in store.list()}
    assert len(metas) == 3
    meta = metas[digest(1)]
    assert meta is not None
    assert meta.spec == {"precision": "fp16"}
    assert metas[digest(2)] is None


def test_second_build_is_separate_and_removed_with_its_store(store: Store) -> None:
    add(store, 1, b"first")
    with Store(store.folder, 10**9) as other:
        with other.draft(digest(1)) as draft:
            (draft / "plan").write_bytes(b"second")
            meta = Meta(digest=digest(1), spec={}, environment=ENVIRONMENT, build_s=1.0)
            second = other.save_apart(draft, meta, ())
        store.prune(max_bytes=0)  # removes leftovers of processes that have ended
        assert second.plan.read_bytes() == b"second"
        found, _ = find(store, 1)
        assert found is not None
        assert found.plan.read_bytes() == b"first"
    assert not second.folder.exists()


def test_models_are_stored_by_their_content(store: Store) -> None:
    first = store.save_model("model.onnx", lambda path: path.write_bytes(b"one"))
    inode = first.stat().st_ino
    assert store.save_model("model.onnx", lambda path: path.write_bytes(b"one")) == first
    assert first.stat().st_ino == inode
    assert store.save_model("model.onnx", lambda path: path.write_bytes(b"two")) != first
    first.write_bytes(b"modified")
    assert store.save_model("model.onnx", lambda path: path.write_bytes(b"one")).read_bytes() == b"one"


def test_temporary_store_is_removed_when_closed() -> None:
    store = Store.temporary()
    add(store, 1)
    store.close()
    assert not store.folder.exists()


def test_timing_caches_are_separate_by_version_and_device(store: Store) -> None:
    path = store.timing_cache("10.3.0", "NVIDIA H200 / MIG 1g.18gb")
    assert path.parent == store.folder / "timing"
    assert path.name == "10.3.0-NVIDIA-H200-MIG-1g.18gb.cache"
    assert path != store.timing_cache("10.3.1", "NVIDIA H200 / MIG 1g.18gb")


WORKER = """
import sys, time
from pathlib import Path
from pytest_trt.engine.cache.entry import Meta
from pytest_trt.engine.cache.store import Store
from pytest_trt.core.records import Environment

environment = Environment(device="a device", kind="cpu", backend="a backend", backend_version="1.0")

def save(store, digest, parts, pause_s):
    with store.draft(digest) as draft:
        with open(draft / "plan", "wb") as plan:
            for part in parts:
                plan.write(part)
                plan.flush()
                time.sleep(pause_s)
        return store.save(draft, Meta(digest=digest, spec={}, environment=environment, build_s=1.0), ())
"""

BUILDER = (
    WORKER
    + """
folder, log, digest = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
waits = []
waiting = folder.parent / "waiting"

def wait(message):
    waits.append(message)
    waiting.touch()

with Store(folder, 10**9) as store, store.lock(digest, wait):
    entry, fault = store.find(digest)
    if entry is None:
        with open(log, "a") as builds:
            builds.write("built\\n")
        deadline = time.monotonic() + 120
        while not waiting.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        entry = save(store, digest, [b"x" * 1000] * 10, 0.01)
    print(entry.meta.files["plan"], fault, len(waits))
"""
)

ENDLESS = (
    WORKER
    + """
folder = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    digest = f"{number % 3:064x}"
    with Store(folder, 10**9) as store, store.lock(digest, print):
        save(store, digest, [bytes([65 + number % 3]) * 50_000] * 4, 0.001)
    print("saved", flush=True)
    number += 1
"""
)


def test_one_of_many_workers_builds_and_all_have_the_plan(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILDER, str(tmp_path / "cache"), str(tmp_path / "log"), digest(7)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    outputs = [worker.communicate(timeout=300)[0].split() for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    assert (tmp_path / "log").read_text() == "built\n"
    assert len({words[0] for words in outputs}) == 1
    assert any(int(words[-1]) > 0 for words in outputs), "no worker reported that it waits"


def test_killed_builder_leaves_no_entry_and_no_files(tmp_path: Path, forked_children: None) -> None:
    folder = tmp_path / "cache"
    moments = random.Random(0)
    found_some = 0
    for _ in range(12):
        builder = subprocess.Popen([sys.executable, "-c", ENDLESS, str(folder)], stdout=subprocess.PIPE, text=True)
        assert builder.stdout is not None
        with builder.stdout:
            for _ in range(moments.randint(1, 4)):
                assert builder.stdout.readline() in ("ready\n", "saved\n")
            time.sleep(moments.uniform(0, 0.02))
            builder.kill()
            builder.wait()
        with Store(folder, 10**9) as store:
            for number in range(3):
                found, fault = find(store, number)
                assert fault == "", "a partial entry was found"
                if found is not None:
                    found_some += 1
                    assert found.plan.read_bytes() == bytes([65 + number]) * 200_000
        with Store(folder, 10**9) as store:
            store.prune()
            assert list((folder / "tmp").iterdir()) == []
    assert found_some > 0
