"""Test the files that a spec names besides its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.engine.model.files import resolve_files
from pytest_trt.errors import ModelError
from pytest_trt.spec.engine_spec import EngineSpec


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """A test's folder, and the rootdir above it."""
    (tmp_path / "tests").mkdir()
    return [tmp_path / "tests", tmp_path]


def test_files_are_searched_for_like_a_model(folders: list[Path]) -> None:
    (folders[1] / "libone.so").touch()
    (folders[0] / "mine.cache").touch()
    spec = resolve_files(EngineSpec(plugins="libone.so", timing_cache="mine.cache"), folders, has_timing_cache=True)
    assert spec.plugins == (str(folders[1] / "libone.so"),)
    assert spec.timing_cache == str(folders[0] / "mine.cache")


def test_missing_plugin_library_suggests_the_nearest_name(folders: list[Path]) -> None:
    (folders[1] / "libone.so").touch()
    with pytest.raises(ModelError, match=r"there is no plugin library 'libon.so' \(did you mean 'libone.so'\?\)"):
        resolve_files(EngineSpec(plugins="libon.so"), folders, has_timing_cache=True)


def test_timing_cache_must_exist_only_if_it_is_read(folders: list[Path]) -> None:
    made = resolve_files(EngineSpec(timing_cache="new.cache"), folders, has_timing_cache=True)
    assert made.timing_cache == str(folders[0] / "new.cache")
    with pytest.raises(ModelError, match=r"there is no timing cache 'new\.cache'"):
        resolve_files(
            EngineSpec(timing_cache="new.cache", timing_cache_mode="read_only"), folders, has_timing_cache=True
        )
    with pytest.raises(ModelError, match=r"there is no timing cache 'nowhere/new\.cache'"):
        resolve_files(EngineSpec(timing_cache="nowhere/new.cache"), folders, has_timing_cache=True)


def test_backend_without_a_builder_ignores_timing_caches(folders: list[Path]) -> None:
    spec = EngineSpec(timing_cache="nowhere/a.cache")
    assert resolve_files(spec, folders, has_timing_cache=False) == spec
    with pytest.raises(ModelError, match=r"there is no plugin library 'no\.so'"):
        resolve_files(EngineSpec(plugins="no.so"), folders, has_timing_cache=False)
