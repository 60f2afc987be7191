"""Test what a host does before it has the package."""

from __future__ import annotations

import os
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from pytest_trt.trial.hosts import bootstrap, bundle
from pytest_trt.trial.hosts.bootstrap import StartError, cache_folder, digest_of, is_complete, unpack


def archive(**modules: str) -> bytes:
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, text in modules.items():
            file.writestr(f"p/{name}.py", text)
    return data.getvalue()


def test_the_package_that_is_sent_has_the_digest_that_the_host_computes(tmp_path):
    package = tmp_path / "package"
    unpack(bundle.archive(), package, bundle.digest())
    assert is_complete(package, bundle.digest())
    assert {path.name for path in package.iterdir()} == set(bundle.LIBRARIES)


def test_a_package_that_was_changed_is_sent_again(tmp_path):
    data = archive(a="x = 1")
    (tmp_path / "right").mkdir()
    with zipfile.ZipFile(BytesIO(data)) as file:
        file.extractall(tmp_path / "right")
    digest = digest_of(tmp_path / "right")
    package = tmp_path / "package"
    with pytest.raises(StartError, match="the package was changed on its way"):
        unpack(archive(a="x = 2"), package, digest)
    assert not package.exists()
    unpack(data, package, digest)
    (package / "p/a.py").write_text("x = 2")
    assert not is_complete(package, digest)
    unpack(data, package, digest)
    assert is_complete(package, digest)
    assert {path.name for path in tmp_path.iterdir()} == {"right", "package"}, "no draft is left"


def test_the_cache_is_the_users_and_nobody_elses(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert cache_folder("") == tmp_path / "home/pytest-trt"
    assert cache_folder(str(tmp_path / "named")) == tmp_path / "named"
    (tmp_path / "named").chmod(0o777)
    with pytest.raises(StartError, match=r"others can write to .*/named, which would contain code: chmod 700 it"):
        cache_folder(str(tmp_path / "named"))
    (tmp_path / "file").touch()
    with pytest.raises(
        StartError, match=r"the cache .*/file cannot be used .*: name another folder: ssh://HOST\?cache"
    ):
        cache_folder(str(tmp_path / "file"))


def test_packages_of_other_versions_are_removed_in_the_end(tmp_path):
    packages = [tmp_path / name for name in ("now", "recent", "old")]
    for package in packages:
        package.mkdir()
    os.utime(packages[2], (0, time.time() - 2 * bootstrap._KEEP_S))
    bootstrap._remove_old(packages[0])
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["now", "recent"]
