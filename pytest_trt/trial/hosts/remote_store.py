"""The engine cache of a host elsewhere, and the files that are sent there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_trt.core import codec
from pytest_trt.core.records import Layer
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.cache.digest import files_sha256
from pytest_trt.engine.cache.entry import Entry, Meta
from pytest_trt.engine.cache.item import CachedItem
from pytest_trt.engine.model.model import describe_model
from pytest_trt.engine.onnx.external_data import find_weights
from pytest_trt.errors import HostError
from pytest_trt.trial.hosts.host import Say
from pytest_trt.trial.hosts.session import HostSession

PART_BYTES = 1 << 20
"""How much of a file is sent in one message."""


class RemoteStore:
    """The engine cache of a host (see `cache.base.EngineStore`).

    A draft is a folder here. Its files are sent to a folder there when the engine is built, and what the build writes
    stays there.

    Args:
        session: Returns the link to the host.
        say: Shows that files are sent.
    """

    def __init__(self, session: Callable[[], HostSession], say: Say) -> None:
        self._session, self._say = session, say
        self._delivered: dict[str, PurePosixPath] = {}
        self._drafts: dict[Path, tuple[str, set[str]]] = {}

    @contextlib.contextmanager
    def lock(self, digest: str, report_waiting: Callable[[str], None]) -> Iterator[None]:
        """Ensure within the block that no other process there looks for or builds `digest`."""
        session = self._session()
        held, _ = session.call("lock_engine", progress=report_waiting, digest=digest)
        try:
            yield
        finally:
            with contextlib.suppress(HostError):  # with the link, the lock is lost, too
                session.call("unlock", held=held)

    def find(self, digest: str) -> tuple[Entry | None, str]:
        """Return the entry of an engine, and a note."""
        (entry, note), _ = self._session().call("find", digest=digest)
        return None if entry is None else _decode(entry), str(note)

    def calibration_file(self, name: str, calibration_key: str) -> Path | None:
        """Return a copy of the file `name` of any entry with this calibration key."""
        if not calibration_key:
            return None
        found, data = self._session().call("calibration_file", name=name, key=calibration_key)
        if not found:
            return None
        path = ScratchFolder("calibration").path / name
        path.write_bytes(data)
        return path

    @contextlib.contextmanager
    def draft(self, digest: str) -> Iterator[Path]:
        """Yield a new folder here, with its counterpart there."""
        session = self._session()
        folder, _ = session.call("draft", digest=digest)
        try:
            with ScratchFolder("draft") as draft:
                self._drafts[draft] = str(folder), set()
                yield draft
        finally:
            self._drafts.pop(draft, None)
            with contextlib.suppress(HostError):
                session.call("discard", folder=folder)

    def save(self, draft: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
        """Turn the counterpart of a draft into the entry of `meta.digest`."""
        return self._save(draft, meta, layers, apart=False)

    def save_apart(self, draft: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
        """Turn the counterpart of a draft into an entry that `find` does not return."""
        return self._save(draft, meta, layers, apart=True)

    def _save(self, draft: Path, meta: Meta, layers: tuple[Layer, ...], *, apart: bool) -> Entry:
        session, (folder, sent) = self._session(), self._drafts[draft]
        session.call("remove", folder=folder, names=sorted(name for name in sent if not (draft / name).exists()))
        encoded = codec.encode(meta), codec.encode(layers)
        entry, _ = session.call("save", folder=folder, meta=encoded[0], layers=encoded[1], apart=apart)
        return _decode(entry)

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Protect an entry from pruning, or end its protection."""
        self._session().call("pin", digest=digest, pinned=pinned)

    def timing_cache(self, version: str, device: str) -> Path:
        """Return the path there of a timing cache."""
        return Path(str(self._session().call("timing_cache", version=version, device=device)[0]))

    @property
    def folder(self) -> Path:
        """The folder of the cache there."""
        return Path(str(self._session().call("folder")[0]))

    def list(self) -> tuple[CachedItem, ...]:
        """Return everything in the cache, the least recently used first."""
        return _decode_items(self._session().call("list")[0])

    def prune(self, max_age_s: float | None = None) -> tuple[CachedItem, ...]:
        """Remove old items, then the least recently used ones until the cache is small enough, and return them."""
        return _decode_items(self._session().call("prune", max_age_s=max_age_s)[0])

    def clear(self) -> tuple[CachedItem, ...]:
        """Remove everything that no running process uses, and return it."""
        return _decode_items(self._session().call("clear")[0])

    def deliver(self, path: Path) -> Path:
        """Return the path of a file there, after a copy of it unless the host has one. A model takes its data along."""
        files = {path.name: path}
        if path.suffix == ".onnx":
            files.update({location: find_weights(path, location) for location in describe_model(path).external})
        key = files_sha256(files)
        if key not in self._delivered:
            session = self._session()
            folder, _ = session.call("model", key=key)
            if folder is None:
                folder = self._send_model(session, files)
            self._delivered[key] = PurePosixPath(str(folder))
        return Path(self._delivered[key] / path.name)

    def _send_model(self, session: HostSession, files: Mapping[str, Path]) -> str:
        draft, _ = session.call("draft", digest="")
        try:
            self._send(session, str(draft), files)
            return str(session.call("save_model", folder=draft)[0])
        finally:
            with contextlib.suppress(HostError):
                session.call("discard", folder=draft)

    def prepare(self, job: BuildJob) -> BuildJob:
        """Send the files of a build whose output is a draft, and return the build with their paths there."""
        draft = Path(job.output)
        session, (folder, sent) = self._session(), self._drafts[draft]
        paths = (Path(top, name) for top, _, names in os.walk(draft) for name in names)
        files = {path.relative_to(draft).as_posix(): path for path in paths}
        self._send(session, folder, files)
        sent.update(files)

        def there(path: str) -> str:
            inside = Path(path).is_relative_to(draft)
            return (
                str(PurePosixPath(folder) / Path(path).relative_to(draft)) if inside else str(self.deliver(Path(path)))
            )

        return dataclasses.replace(
            job,
            model=there(job.model),
            output=folder,
            calibration=None if job.calibration is None else there(job.calibration),
        )

    def _send(self, session: HostSession, folder: str, files: Mapping[str, Path]) -> None:
        total, sent = sum(path.stat().st_size for path in files.values()), 0
        try:
            for name, path in files.items():
                with path.open("rb") as file:
                    while True:
                        part = file.read(PART_BYTES)
                        session.call("put", folder=folder, name=name, payload=part)
                        sent += len(part)
                        if total > PART_BYTES:
                            share = f"{sent / 1e6:.0f} of {total / 1e6:.0f} MB"
                            self._say(f"{session.name}: sending {path.name}, {share}")
                        if len(part) < PART_BYTES:
                            break
        finally:
            self._say("")


def _decode_items(items: Sequence[Mapping[str, Any]]) -> tuple[CachedItem, ...]:
    now = time.time()
    return tuple(
        CachedItem(
            key=item["key"],
            folder=Path(item["folder"]),
            bytes=item["bytes"],
            used=now - item["idle_s"],
            pinned=item["pinned"],
            meta=None if item["meta"] is None else codec.decode(Meta, item["meta"]),
        )
        for item in items
    )


def _decode(entry: Mapping[str, object]) -> Entry:
    return Entry(
        Path(str(entry["folder"])),
        codec.decode(Meta, entry["meta"]),
        codec.check(tuple[Layer, ...], entry["layers"], "layers"),
        int(str(entry["plan_bytes"])),
    )
