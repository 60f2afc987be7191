"""Test `pytest-trt cache`."""

from __future__ import annotations

from pathlib import Path

from samples.runs import Run


def test_cache_commands(run: Run, tmp_path: Path) -> None:
    cache = tmp_path / "engines"
    status, out, _ = run("cache", "list", "--cache-dir", cache)
    assert status == 0
    assert f"0 in {cache}, 0.0 MB" in out
    assert run("cache", "prune", "--older-than", "30d", "--size", "1GB", "--cache-dir", cache)[0] == 0
    assert "0 removed" in run("cache", "clear", "--cache-dir", cache)[1]
    status, _, error = run("cache", "prune", "--older-than", "soon", "--cache-dir", cache)
    assert status == 2
    assert "--older-than is 'soon'" in error
    assert run("cache", "prune", "--size", "much", "--cache-dir", cache)[0] == 2
    cache.chmod(0o777)
    status, _, error = run("cache", "list", "--cache-dir", cache)
    assert status == 2
    assert "chmod 700" in error


def test_cache_commands_use_the_ini_setting(run: Run, tmp_path: Path) -> None:
    Path("pytest.ini").write_text("[pytest]\ntrt_cache_dir = engines\n")
    assert f"0 in {tmp_path}/engines" in run("cache", "list")[1]
