"""Load, save, list, rename and prune the baselines of one name, in any storage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pytest_trt.core.records import Measurement, Status, Verdict
from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines import file_format
from pytest_trt.judge.baselines.baseline import Baseline, BaselineData, ListedBaseline, data_of
from pytest_trt.judge.baselines.paths import baseline_path, checked_name, data_beside, data_path, device_slug
from pytest_trt.judge.baselines.storage.base import Content, Storage
from pytest_trt.judge.baselines.storage.local import LocalStorage
from pytest_trt.judge.baselines.updating import Judged, Saved, update_baseline
from pytest_trt.spec.case_ids import former_node_ids


class BaselineFolder:
    """The baselines of one name. Every method raises BaselineError if the storage cannot be read or written.

    Files that `prefetch` reads are kept until they are loaded. Which tests have a baseline, whether a device has any,
    and of which specs, is read once, so that saving during a run does not turn `missing` into `new`. A test whose id an
    earlier version wrote in another way (`spec.case_ids`) has the baseline of that id until it is saved.

    Args:
        storage: Where the files are.
        name: The baselines' name, a folder in the storage.

    Raises:
        BaselineError: The name is not valid.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage, self.name = storage, checked_name(name)
        self._fetched: dict[str, Content] = {}
        self._devices: dict[str, bool] = {}
        self._specs: dict[str, Mapping[str, Sequence[str]]] = {}

    @property
    def where(self) -> str:
        """How messages name this folder."""
        return f"{self._storage.where}/{self.name}"

    def prefetch(self, node_ids: Iterable[str], device: str) -> None:
        """Read the baselines of these tests on a device together, which takes a remote storage far less time."""
        paths = [self._path(device, node_id) for node_id in node_ids]
        self._fetched.update(self._storage.read(paths, file_format.MOST_READ))

    def load(self, node_id: str, device: str) -> Baseline | None:
        """Return the test's baseline on this device; None if it has none.

        Args:
            node_id: The test's node id.
            device: The device's folder (`paths.device_slug`).

        Raises:
            BaselineError: The file is not valid; the error names the file and the field.
        """
        path = self._path(device, node_id)
        if path not in self._fetched:
            self._fetched.update(self._storage.read([path], file_format.MOST_READ))
        found = self._parse_for(path, self._fetched.pop(path), node_id, device)
        if found is None and (former := self._former_id(node_id, device)):
            found = self.load(former, device)
        return found

    def _former_id(self, node_id: str, device: str) -> str:
        """Return the id from an earlier version under which the test has a baseline on this device, or ""."""
        former_ids = {baseline_path(device, former): former for former in former_node_ids(node_id)}
        return next((former_ids[path] for path in former_ids.keys() & self._paths), "")

    def _parse_for(self, path: str, content: Content, node_id: str, device: str) -> Baseline | None:
        """Return the baseline in a file, which must be that of this test on this device; None without a file."""
        if content is None:
            return None
        where = f"{self._storage.where}/{path}"
        return file_format.check_owner(_parse(where, content), where, device, node_id)

    def data(self, baseline: Baseline) -> BaselineData | None:
        """Return the samples, layers and outputs of a baseline's reference; None if they are not stored.

        Raises:
            BaselineError: The file is not valid, or it belongs to another test.
        """
        path = f"{self.name}/{data_path(device_slug(baseline.environment), baseline.node_id)}"
        content = self._storage.read([path], file_format.MOST_DATA)[path]
        if content is None:
            return None
        if isinstance(content, BaselineError):
            raise content
        data = file_format.parse_data(content, path)
        if data.node_id != baseline.node_id:
            raise BaselineError(f"baseline {path}: node_id is {data.node_id!r}, another test's: save this test again")
        return data if data.time == baseline.time else None

    def has_any(self, device: str) -> bool:
        """Return whether any test has a baseline on this device."""
        if device not in self._devices:
            self._devices[device] = bool(self._storage.list(f"{self.name}/{device}"))
        return self._devices[device]

    def has_test(self, node_id: str) -> bool:
        """Return whether the test has a baseline on any device."""
        paths = (baseline_path("", one)[1:] for one in (node_id, *former_node_ids(node_id)))
        return not self._tests.isdisjoint(paths)

    @cached_property
    def _paths(self) -> frozenset[str]:
        """The paths of all files below the name."""
        return frozenset(path.partition("/")[2] for path in self._storage.list(self.name))

    @cached_property
    def _tests(self) -> frozenset[str]:
        """The paths of all files below the name, without the device."""
        return frozenset(path.partition("/")[2] for path in self._paths)

    def other_names(self) -> Sequence[str]:
        """Return the names of the baselines in a local folder that has none of this name; none if it has."""
        if not isinstance(self._storage, LocalStorage) or (self._storage.folder / self.name).exists():
            return ()
        found = self._storage.folder.iterdir() if self._storage.folder.is_dir() else ()
        return sorted(path.name for path in found if path.is_dir())

    def save(
        self,
        measurement: Measurement,
        status: Status,
        *,
        improved: Collection[str] = (),
        verdicts: Iterable[Verdict] = (),
        force: bool = False,
        new_only: bool = False,
    ) -> Saved:
        """Store one measurement; see `Judged` and `save_all`."""
        return self.save_all([Judged(measurement, status, improved, verdicts)], force=force, new_only=new_only)[0]

    def accept(self, judged: Sequence[Judged], reason: str) -> Sequence[Saved]:
        """Make these measurements the references, whatever their verdicts."""
        return self.save_all(judged, force=True, reason=reason)

    def save_all(
        self, judged: Sequence[Judged], *, force: bool = False, new_only: bool = False, reason: str = ""
    ) -> Sequence[Saved]:
        """Store measurements as `updating.update_baseline` decides. Their files are read and written together.

        Args:
            judged: The measurements.
            force: Whether to make each the reference whatever its verdict, also in place of a file that cannot be read.
            new_only: Whether to store only those without a baseline.
            reason: Why they are accepted as the references.
        """
        node_ids = [one.measurement.node_id for one in judged]
        devices = [device_slug(one.measurement.environment) for one in judged]
        paths = list(map(self._path, devices, node_ids))
        contents = self._read_for_saving(node_ids, devices, paths)
        files, all_saved = {}, []
        for one, device, path in zip(judged, devices, paths, strict=True):
            measurement = one.measurement
            try:
                old = self._parse_for(path, contents[path], measurement.node_id, device)
            except BaselineError:
                if not force:
                    raise
                old = None
            updated, saved = update_baseline(
                old, measurement, one.status, improved=one.improved, verdicts=one.verdicts,
                force=force, new_only=new_only, reason=reason,
            )  # fmt: skip
            if saved.outcome in ("created", "moved") and (measurement.samples or measurement.profile):
                files[f"{self.name}/{data_path(device, measurement.node_id)}"] = file_format.render_data(
                    data_of(measurement)
                )
            raw = contents[path]
            if saved.outcome == "recorded" and updated is not None and old is not None and isinstance(raw, bytes):
                files[path] = file_format.append_run(raw, old, updated)
            elif updated is not None:
                files[path] = file_format.render(updated)
            all_saved.append(saved)
        self._storage.write(files)
        return all_saved

    def _read_for_saving(
        self, node_ids: Sequence[str], devices: Sequence[str], paths: Sequence[str]
    ) -> dict[str, Content]:
        """Read files that are to be written; those that have the id of an earlier version are renamed first."""
        contents = self._storage.read(paths, file_format.MOST_READ)
        renamed = []
        for node_id, device, path in zip(node_ids, devices, paths, strict=True):
            former = self._former_id(node_id, device) if contents[path] is None else ""
            if former and (baseline := self.load(former, device)) is not None:
                renamed.append(self._rename(self._path(device, former), baseline, node_id))
        return {**contents, **(self._storage.read(renamed, file_format.MOST_READ) if renamed else {})}

    def add_layers(self, measurement: Measurement) -> None:
        """Store the layers of a measurement as those of its test's reference, which has none."""
        baseline = self.load(measurement.node_id, device := device_slug(measurement.environment))
        profile = data_of(measurement).profile
        if baseline is not None and profile is not None:
            data = self.data(baseline) or BaselineData(baseline.node_id, baseline.time)
            file = f"{self.name}/{data_path(device, baseline.node_id)}"
            self._storage.write({file: file_format.render_data(dataclasses.replace(data, profile=profile))})

    def list(self) -> Iterator[ListedBaseline]:
        """Yield every baseline of this name, read together, in the order of their paths."""
        return self._listed(self.name)

    def _listed(self, prefix: str) -> Iterator[ListedBaseline]:
        return self._read([path for path in self._storage.list(prefix) if path.endswith(".json")])

    def _read(self, paths: Sequence[str]) -> Iterator[ListedBaseline]:
        for path, content in self._storage.read(paths, file_format.MOST_READ).items():
            try:
                assert content is not None
                yield ListedBaseline(path, _parse(path, content))
            except BaselineError as error:
                yield ListedBaseline(path, error)

    def prune(self, is_gone: Callable[[str], bool], *, dry_run: bool = True) -> Sequence[str]:
        """Remove the baselines of tests that are gone on every device, with the data beside them.

        A file that cannot be read stays, since it may belong to a test that exists.

        Args:
            is_gone: Whether a test certainly no longer exists, by its node id.
            dry_run: Whether to remove nothing.

        Returns:
            The paths of the baselines.
        """
        obsolete = [
            entry.path
            for entry in self.list()
            if isinstance(entry.content, Baseline) and is_gone(entry.content.node_id)
        ]
        if not dry_run:
            self._storage.remove([one for path in obsolete for one in (path, data_beside(path))])
            self._specs.clear()
        return obsolete

    def rename(self, old: str, new: str) -> Sequence[str]:
        """Give the baselines of the test `old` on every device to the test `new`.

        Returns:
            The new paths.

        Raises:
            BaselineError: `old` has no baseline, or `new` has one already.
        """
        renamed_paths = []
        for entry in list(self.list()):
            if not isinstance(entry.content, Baseline) or entry.content.node_id != old:
                continue
            renamed_paths.append(self._rename(entry.path, entry.content, new))
        if not renamed_paths:
            raise BaselineError(f"{self.where} has no baseline of {old!r}: pytest-trt baseline list shows all")
        return renamed_paths

    def _rename(self, old_path: str, baseline: Baseline, new: str) -> str:
        device = device_slug(baseline.environment)
        data = self.data(baseline)
        path, renamed = self._path(device, new), dataclasses.replace(baseline, node_id=new)
        if self.load(new, device) not in (None, baseline, renamed):  # renamed if an earlier rename was interrupted
            raise BaselineError(f"{new} has a baseline of its own on {device}: remove one of the two")
        files = {path: file_format.render(renamed)}
        if data is not None:
            data_file = f"{self.name}/{data_path(device, new)}"
            files = {data_file: file_format.render_data(dataclasses.replace(data, node_id=new)), **files}
        self._storage.write(files)
        self._storage.remove([data_beside(old_path), old_path])
        self._specs.pop(device, None)
        return path

    def tests_of_spec(self, spec_digest: str, device: str) -> Sequence[str]:
        """Return the node ids of the baselines on this device that have this spec."""
        return self._tests_by_spec(device).get(spec_digest, ())

    def node_ids_except(self, node_ids: Iterable[str]) -> set[str]:
        """Return the node ids of the baselines on any device, except those of the given tests.

        Only the files of other tests are read. Files that cannot be read are left out.
        """
        known = {baseline_path("", node_id)[1:] for node_id in node_ids}
        paths = [path for path in self._storage.list(self.name) if path.endswith(".json")]
        others = [path for path in paths if path.split("/", 2)[-1] not in known]
        return {each.content.node_id for each in self._read(others) if isinstance(each.content, Baseline)}

    def is_empty(self) -> bool:
        """Return whether there is no baseline of this name at all."""
        return not self._storage.list(self.name)

    def _tests_by_spec(self, device: str) -> Mapping[str, Sequence[str]]:
        """Return the tests with a baseline on this device by their spec's digest; read once, as many may be new."""
        if device not in self._specs:
            by_spec: dict[str, list[str]] = {}
            for entry in self._listed(f"{self.name}/{device}"):
                if isinstance(entry.content, Baseline):
                    by_spec.setdefault(entry.content.spec_digest, []).append(entry.content.node_id)
            self._specs[device] = by_spec
        return self._specs[device]

    def local_path(self, path: str) -> Path | None:
        """Return the file of a listed baseline; None if the storage is not a local folder."""
        return self._storage.folder / path if isinstance(self._storage, LocalStorage) else None

    def _path(self, device: str, node_id: str) -> str:
        return f"{self.name}/{baseline_path(device, node_id)}"


def _parse(path: str, content: bytes | BaselineError) -> Baseline:
    if isinstance(content, BaselineError):
        raise content
    return file_format.parse(content, path)
