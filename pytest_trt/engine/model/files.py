"""The files that a spec names, found where a test's files are looked for."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path

from pytest_trt.errors import ModelError
from pytest_trt.spec.engine_spec import EngineSpec

RANDOM_CALIBRATION = "random"
"""What a spec's `calibration` says to have inputs drawn: the speed is right with them, the accuracy is not."""


def find_file(what: str, name: str, folders: Sequence[Path]) -> Path:
    """`name` in the first of `folders` that has it. Raises ModelError naming all places, and files of like names."""
    places = list(dict.fromkeys(folder / name for folder in folders))
    for place in places:
        if place.is_file():
            return place
    for place in places:
        if place.is_dir():
            models = sorted(entry.name for entry in place.glob("*.onnx"))
            inside = f": it has {', '.join(models[:5])}" if models else ""
            raise ModelError(f"the {what} {name!r} is a folder ({place}){inside}: name the file in it")
    near = [match for place in places for match in _similar_names(place)]
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ModelError(f"there is no {what} {name!r}{hint}: looked for {'; '.join(map(str, places))}")


def resolve_files(spec: EngineSpec, folders: Sequence[Path], *, host: bool) -> EngineSpec:
    """The spec with absolute paths for what it names beside the model: its calibration cache, plugin libraries, and,
    unless a `host` backend runs it, which has none, timing cache. A timing cache that is written need not be there: it
    comes to lie in the first of `folders`. Raises ModelError for what is not there."""
    named: dict[str, object] = {}
    if isinstance(spec.calibration, str) and spec.calibration != RANDOM_CALIBRATION:
        places = [folder / spec.calibration for folder in folders]
        named["calibration"] = str(next((place for place in places if place.is_file()), places[0]))
    if spec.plugins:
        named["plugins"] = tuple(str(find_file("plugin library", name, folders).absolute()) for name in spec.plugins)
    if isinstance(spec.timing_cache, str) and not host:
        places = [(folder / spec.timing_cache).absolute() for folder in folders]
        found = next((place for place in places if place.is_file()), places[0])
        if spec.timing_cache_mode != "update" or not found.parent.is_dir():
            found = find_file("timing cache", spec.timing_cache, folders).absolute()
        named["timing_cache"] = str(found)
    return dataclasses.replace(spec, **named) if named else spec  # type: ignore[arg-type]


def _similar_names(place: Path) -> list[str]:
    """A name like `place`'s in its folder."""
    if not place.parent.is_dir():
        return []
    names = [entry.name for entry in place.parent.iterdir()]
    return difflib.get_close_matches(place.name, names, 1)
