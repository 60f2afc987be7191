"""A team's baselines of one name, wherever they are kept: loading, saving, listing, pruning."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_trt.core.records import Measurement, Status
from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines import file_format
from pytest_trt.judge.baselines.baseline import Baseline, BaselineData, Saved, data_of, update_baseline
from pytest_trt.judge.baselines.paths import baseline_path, checked_name, data_path, device_slug
from pytest_trt.judge.baselines.storage.base import Content, Storage
from pytest_trt.judge.baselines.storage.local import LocalStorage


@dataclasses.dataclass(frozen=True)
class ListedBaseline:
    """A file that is there: its path, and what it holds or why it cannot be read."""

    path: str
    content: Baseline | BaselineError


class BaselineFolder:
    """The baselines called `name` at `place`. Every method raises BaselineError where the place cannot be used.

    What was read together by `prefetch` is kept until it is loaded; whether a device has baselines at all, of which
    specs, and which tests have one is asked once, so that saving during a run does not turn `missing` into `new`.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage, self.name = storage, checked_name(name)
        self._fetched: dict[str, Content] = {}
        self._devices: dict[str, bool] = {}
        self._specs: dict[str, Mapping[str, Sequence[str]]] = {}
        self._tests: frozenset[str] | None = None

    @property
    def where(self) -> str:
        return f"{self._storage.where}/{self.name}"

    def prefetch(self, node_ids: Iterable[str], device: str) -> None:
        """Read the baselines of all these tests together: for a remote place, in a fraction of the time."""
        paths = [self._path(device, node_id) for node_id in node_ids]
        self._fetched.update(self._storage.read(paths, file_format.MOST_READ))

    def load(self, node_id: str, device: str) -> Baseline | None:
        """The test's baseline on this device; None where it has none. Raises BaselineError, naming file and field, for
        one that is not what was saved."""
        path = self._path(device, node_id)
        if path not in self._fetched:
            self._fetched.update(self._storage.read([path], file_format.MOST_READ))
        return self._loaded(path, self._fetched.pop(path), node_id, device)

    def _loaded(self, path: str, content: Content, node_id: str, device: str) -> Baseline | None:
        if content is None:
            return None
        where = f"{self._storage.where}/{path}"
        return _checked(_parsed(where, content), where, device, node_id)

    def data(self, baseline: Baseline) -> BaselineData | None:
        """The samples and layers of that very reference; None where they are not kept."""
        path = f"{self.name}/{data_path(device_slug(baseline.environment), baseline.node_id)}"
        content = self._storage.read([path], file_format.MOST_DATA)[path]
        if content is None:
            return None
        if isinstance(content, BaselineError):
            raise content
        data = file_format.parse_data(content, path)
        if data.node_id != baseline.node_id:
            raise BaselineError(f"baseline {path}: node_id is {data.node_id!r}, another test's: save that test anew")
        return data if data.time == baseline.time else None

    def has_any(self, device: str) -> bool:
        """Whether any test has a baseline on this device."""
        if device not in self._devices:
            self._devices[device] = bool(self._storage.list(f"{self.name}/{device}"))
        return self._devices[device]

    def has_test(self, node_id: str) -> bool:
        """Whether the test has a baseline, on whatever device."""
        if self._tests is None:
            self._tests = frozenset(path.split("/", 2)[-1] for path in self._storage.list(self.name))
        return baseline_path("", node_id)[1:] in self._tests

    def other_names(self) -> Sequence[str]:
        """The names of the baselines in a folder on this disk that has none of this name; none, where it has."""
        if not isinstance(self._storage, LocalStorage) or (self._storage.folder / self.name).exists():
            return ()
        found = self._storage.folder.iterdir() if self._storage.folder.is_dir() else ()
        return sorted(path.name for path in found if path.is_dir())

    def save(
        self,
        measurement: Measurement,
        status: Status,
        *,
        force: bool = False,
        new_only: bool = False,
        reason: str = "",
    ) -> Saved:
        """Store what was measured and judged `status`, as judge.baselines.after says. What cannot be read any more is
        replaced with `force` alone."""
        (saved,) = self.save_all([(measurement, status)], force=force, new_only=new_only, reason=reason)
        return saved

    def accept(self, measurements: Iterable[Measurement], reason: str) -> Sequence[Saved]:
        """Make these measurements the references, whatever was judged of them."""
        return self.save_all([(measurement, "ok") for measurement in measurements], force=True, reason=reason)

    def save_all(
        self,
        judged: Sequence[tuple[Measurement, Status]],
        *,
        force: bool = False,
        new_only: bool = False,
        reason: str = "",
    ) -> Sequence[Saved]:
        """`save` for many tests, which are read together and written together."""
        devices = [device_slug(measurement.environment) for measurement, _ in judged]
        paths = [self._path(device, one.node_id) for (one, _), device in zip(judged, devices, strict=True)]
        contents = self._storage.read(paths, file_format.MOST_READ)
        files, all_saved = {}, []
        for (measurement, status), device, path in zip(judged, devices, paths, strict=True):
            try:
                old = self._loaded(path, contents[path], measurement.node_id, device)
            except BaselineError:
                if not force:
                    raise
                old = None
            made, saved = update_baseline(old, measurement, status, force=force, new_only=new_only, reason=reason)
            if saved.outcome in ("created", "moved") and (measurement.samples or measurement.profile):
                files[f"{self.name}/{data_path(device, measurement.node_id)}"] = file_format.render_data(
                    data_of(measurement)
                )
            raw = contents[path]
            if saved.outcome == "recorded" and made is not None and old is not None and isinstance(raw, bytes):
                files[path] = file_format.remembering(raw, old, made)
            elif made is not None:
                files[path] = file_format.render(made)
            all_saved.append(saved)
        self._storage.write(files)
        return all_saved

    def list(self) -> Iterator[ListedBaseline]:
        """Every baseline of this name, by path; read together."""
        return self._listed(self.name)

    def _listed(self, prefix: str) -> Iterator[ListedBaseline]:
        paths = [path for path in self._storage.list(prefix) if path.endswith(".json")]
        for path, content in self._storage.read(paths, file_format.MOST_READ).items():
            try:
                assert content is not None
                yield ListedBaseline(path, _parsed(path, content))
            except BaselineError as error:
                yield ListedBaseline(path, error)

    def prune(self, node_ids: Collection[str], *, dry_run: bool = True) -> Sequence[str]:
        """Remove the baselines of tests that are not among `node_ids`, on every device, with what lies beside them.
        Returns their paths. What cannot be read stays: it may be somebody's."""
        gone = [
            entry.path
            for entry in self.list()
            if isinstance(entry.content, Baseline) and entry.content.node_id not in node_ids
        ]
        if not dry_run:
            self._storage.remove([one for path in gone for one in (path, _data_beside(path))])
            self._specs.clear()
        return gone

    def rename(self, old: str, new: str) -> Sequence[str]:
        """Give the baselines of the test `old`, on every device, to the test `new`. Returns the new paths."""
        moved = []
        for entry in list(self.list()):
            if not isinstance(entry.content, Baseline) or entry.content.node_id != old:
                continue
            device = device_slug(entry.content.environment)
            if self.load(new, device) is not None:
                raise BaselineError(f"{new} has a baseline of its own on {device}: remove one of the two")
            data = self.data(entry.content)
            path, renamed = self._path(device, new), dataclasses.replace(entry.content, node_id=new)
            files = {path: file_format.render(renamed)}
            if data is not None:
                beside = f"{self.name}/{data_path(device, new)}"
                files = {beside: file_format.render_data(dataclasses.replace(data, node_id=new)), **files}
            self._storage.write(files)
            self._storage.remove([entry.path, _data_beside(entry.path)])
            self._specs.pop(device, None)
            moved.append(path)
        if not moved:
            raise BaselineError(f"{self.where} has no baseline of {old!r}: pytest-trt baseline list shows all")
        return moved

    def find_renamed(self, measurement: Measurement, node_ids: Collection[str]) -> str | None:
        """The test that this one seems to have been before: one that is not among `node_ids`, the tests there are, and
        has the same spec on the same device. None where there is none, or several."""
        stored = self._of_spec(device_slug(measurement.environment)).get(measurement.spec_digest, ())
        found = {node_id for node_id in stored if node_id not in node_ids}
        return found.pop() if len(found) == 1 else None

    def _of_spec(self, device: str) -> Mapping[str, Sequence[str]]:
        """The tests with a baseline on this device, by their spec's digest. Read once: many tests may be new."""
        if device not in self._specs:
            by_spec: dict[str, list[str]] = {}
            for entry in self._listed(f"{self.name}/{device}"):
                if isinstance(entry.content, Baseline):
                    by_spec.setdefault(entry.content.spec_digest, []).append(entry.content.node_id)
            self._specs[device] = by_spec
        return self._specs[device]

    def local_path(self, path: str) -> Path | None:
        """The file of a listed baseline, where it lies on this disk and its history may be asked of git."""
        return self._storage.folder / path if isinstance(self._storage, LocalStorage) else None

    def _path(self, device: str, node_id: str) -> str:
        return f"{self.name}/{baseline_path(device, node_id)}"


def _parsed(path: str, content: bytes | BaselineError) -> Baseline:
    if isinstance(content, BaselineError):
        raise content
    return file_format.parse(content, path)


def _checked(baseline: Baseline, path: str, device: str, node_id: str) -> Baseline:
    """The baseline, which must be that test's on that device: a file that was copied is no baseline of another."""
    if baseline.node_id != node_id:
        raise BaselineError(
            f"baseline {path}: node_id is {baseline.node_id[:200]!r}, another test's: {file_format.REMEDY}"
        )
    if device_slug(baseline.environment) != device:
        name = baseline.environment.device[:200]
        raise BaselineError(f"baseline {path}: environment.device is {name!r}, another device's: {file_format.REMEDY}")
    return baseline


def _data_beside(path: str) -> str:
    folder, _, file = path.rpartition("/")
    return f"{folder}/_data/{file}.gz"
