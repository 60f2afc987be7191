"""Find the files that a spec names in the folders of a test."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path

from pytest_trt.errors import ModelError
from pytest_trt.spec.engine_spec import EngineSpec

RANDOM_CALIBRATION = "random"
"""The value of a spec's `calibration` that requests generated inputs: with them the speed is right, but not the
accuracy."""


def find_file(what: str, name: str, folders: Sequence[Path]) -> Path:
    """Return the path of `name` in the first of `folders` that contains it.

    Args:
        what: What the file is, for the error: `model`, `plugin library`.
        name: The relative or absolute path that the spec names.
        folders: The folders that a relative path may be relative to.

    Raises:
        ModelError: No folder contains the file. The message lists the paths and suggests a similar name.
    """
    paths = list(dict.fromkeys(folder / name for folder in folders))
    for path in paths:
        if path.is_file():
            return path
    for path in paths:
        if path.is_dir():
            models = sorted(entry.name for entry in path.glob("*.onnx"))
            inside = f": it has {', '.join(models[:5])}" if models else ""
            raise ModelError(f"the {what} {name!r} is a folder ({path}){inside}: name a file in it")
    similar = [match for path in paths for match in _similar_names(path)]
    hint = f" (did you mean {similar[0]!r}?)" if similar else ""
    raise ModelError(f"there is no {what} {name!r}{hint}: looked for {'; '.join(map(str, paths))}")


def resolve_files(spec: EngineSpec, folders: Sequence[Path], *, has_timing_cache: bool) -> EngineSpec:
    """Return the spec with absolute paths of its calibration cache, plugin libraries and timing cache.

    A timing cache that is updated need not exist: it is created in the first of `folders`. A calibration cache need not
    exist either; the build reports that it is missing.

    Args:
        spec: The spec as the test declares it.
        folders: The folders that relative paths may be relative to.
        has_timing_cache: Whether the backend has a timing cache. If not, the spec's is left as it is.

    Raises:
        ModelError: A file does not exist.
    """
    resolved: dict[str, object] = {}
    if isinstance(spec.calibration, str) and spec.calibration != RANDOM_CALIBRATION:
        paths = [folder / spec.calibration for folder in folders]
        resolved["calibration"] = str(next((path for path in paths if path.is_file()), paths[0]))
    if spec.plugins:
        resolved["plugins"] = tuple(str(find_file("plugin library", name, folders).absolute()) for name in spec.plugins)
    if isinstance(spec.timing_cache, str) and has_timing_cache:
        paths = [(folder / spec.timing_cache).absolute() for folder in folders]
        found = next((path for path in paths if path.is_file()), paths[0])
        if spec.timing_cache_mode != "update" or not found.parent.is_dir():
            found = find_file("timing cache", spec.timing_cache, folders).absolute()
        resolved["timing_cache"] = str(found)
    return dataclasses.replace(spec, **resolved) if resolved else spec  # type: ignore[arg-type]


def _similar_names(path: Path) -> list[str]:
    """Return the most similar name in the folder of `path`, if there is one."""
    if not path.parent.is_dir():
        return []
    names = [entry.name for entry in path.parent.iterdir()]
    return difflib.get_close_matches(path.name, names, 1)
