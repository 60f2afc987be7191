"""`pytest-trt cache`: what the engine cache holds, and making room in it."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.cli.project import Project
from pytest_trt.errors import DeclarationError

if TYPE_CHECKING:
    from pytest_trt.engine.cache.item import CachedItem
    from pytest_trt.engine.cache.store import Store

_AGES = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def add_command(subparsers: Any) -> None:
    parser = subparsers.add_parser("cache", help="list, prune and clear the engine cache")
    commands = parser.add_subparsers(metavar="WHAT", required=True)
    _command(commands, "list", _list, "every engine, the least recently used first")
    prune = _command(commands, "prune", _prune, "remove engines that were not used for long, then down to a size")
    prune.add_argument("--older-than", metavar="AGE", help="not used for so long: 36h, 30d, 8w")
    prune.add_argument("--size", metavar="SIZE", help="what may be left, such as 5GB (the ini file's, or 20GB)")
    _command(commands, "clear", _clear, "remove everything that no running test uses, pinned engines too")


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--rootdir", type=Path, default=Path(), help="a folder of the project (the current one)")
    parser.add_argument("--cache-dir", metavar="PATH", help="the cache's folder (the ini file's, or the user's)")
    parser.set_defaults(run=run)
    return parser


def _list(args: argparse.Namespace) -> int:
    with _store(args) as store:
        kept = store.list()
        for entry in kept:
            print(_line(entry))
        print(f"{len(kept)} in {store.folder}, {_size(sum(entry.bytes for entry in kept))}")
    return 0


def _prune(args: argparse.Namespace) -> int:
    with _store(args) as store:
        _say_removed(store.prune(max_age_s=_age(args.older_than)))
    return 0


def _clear(args: argparse.Namespace) -> int:
    with _store(args) as store:
        _say_removed(store.clear())
        left = len(store.list())
        if left:
            print(f"{left} stay: a running test uses them")
    return 0


def _store(args: argparse.Namespace) -> Store:
    import platformdirs

    from pytest_trt.engine.cache.store import Store

    project = Project(args.rootdir)
    settings = project.settings({
        "cache_dir": ("--cache-dir", args.cache_dir), "cache_bytes": ("--size", getattr(args, "size", None)),
    })  # fmt: skip
    folder = settings.cache_dir or platformdirs.user_cache_dir("pytest-trt", appauthor=False)
    return Store(project.folder / Path(folder).expanduser(), settings.cache_bytes)


def _age(text: str | None) -> float | None:
    """Seconds. Raises DeclarationError for what is no age."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    if found is None:
        raise DeclarationError(f"--older-than is {text!r}: write hours, days or weeks, such as 36h, 30d or 8w")
    return float(found[1]) * _AGES[found[2]]


def _say_removed(removed: Iterable[CachedItem]) -> None:
    freed = count = 0
    for entry in removed:
        print(f"removed {_line(entry)}")
        freed, count = freed + entry.bytes, count + 1
    print(f"{count} removed, {_size(freed)} freed")


def _line(entry: CachedItem) -> str:
    """An entry: its digest's beginning, size, when it was used, and what it is."""
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    pinned = "  pinned by a baseline" if entry.pinned else ""
    if entry.meta is None:
        return f"{entry.key[:12]}  {_size(entry.bytes):>9}  {used}  a model or plan that a function made{pinned}"
    meta = entry.meta
    what = f"{meta.environment.device}, {meta.environment.backend} {meta.environment.backend_version}"
    return f"{entry.key[:12]}  {_size(entry.bytes):>9}  {used}  {what}{pinned}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
