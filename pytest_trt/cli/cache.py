"""`pytest-trt cache`: list, prune and clear the engine cache."""

from __future__ import annotations

import argparse
import datetime
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from pytest_trt.cli.arguments import add_cache_arguments, add_host_argument, add_subcommand
from pytest_trt.cli.exit_status import USAGE_ERROR
from pytest_trt.cli.project import Flags, Project
from pytest_trt.cli.terminal import show, show_progress, show_table
from pytest_trt.engine.cache.folder import cache_folder
from pytest_trt.engine.cache.item import CachedItem
from pytest_trt.engine.cache.store import Store
from pytest_trt.errors import DeclarationError, TrtError
from pytest_trt.judge.regression.changes import age
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.hosts.remote_store import RemoteStore

_SECONDS_IN = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser("cache", help="list, prune and clear the engine cache")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = functools.partial(add_subcommand, commands, _add_arguments)
    add("list", _list, "list the cached engines, the least recently used first")
    prune = add(
        "prune",
        _prune,
        "remove engines that have not been used for some time, then reduce the cache to a size",
    )
    prune.add_argument(
        "--older-than", metavar="AGE", help="remove engines not used for this long, such as 36h, 30d or 8w"
    )
    prune.add_argument(
        "--size",
        metavar="SIZE",
        help="the size to reduce the cache to, such as 5GB (default: the ini setting, or 20GB)",
    )
    add("clear", _clear, "remove all engines, pinned ones too, unless a running test uses them")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cache_arguments(parser)
    add_host_argument(parser)


def _list(args: argparse.Namespace) -> int:
    def show_items(store: Store | RemoteStore) -> None:
        items = store.list()
        if items:
            show_table([_HEADINGS, *map(_row, items)])
        show(f"total: {len(items)} in {store.folder}, {_format_size(sum(item.bytes for item in items))}")

    return _on_each_host(args, show_items)


def _prune(args: argparse.Namespace) -> int:
    max_age_s = _parse_age(args.older_than)
    return _on_each_host(args, lambda store: _print_removed(store.prune(max_age_s=max_age_s)))


def _clear(args: argparse.Namespace) -> int:
    def clear(store: Store | RemoteStore) -> None:
        _print_removed(store.clear())
        kept = len(store.list())
        if kept:
            show(f"{kept} kept, since a running test uses them")

    return _on_each_host(args, clear)


def _on_each_host(args: argparse.Namespace, do: Callable[[Store | RemoteStore], None]) -> int:
    """Call a function with the cache of this host, and with those of hosts elsewhere; return the exit status."""
    flags: Flags = {
        "cache_dir": ("--cache-dir", args.cache_dir),
        "cache_bytes": ("--size", getattr(args, "size", None)),
        "hosts": ("--host", args.host),
    }
    settings, status = Project(args.rootdir).settings(flags), 0
    with Store(cache_folder(settings), settings.cache_bytes) as store, Bench(settings, show_progress) as bench:
        if settings.hosts:
            show("this host:")
        do(store)
        bench.elsewhere.reach()  # all of them at the same time
        for host in bench.elsewhere.hosts:
            show(f"host {host.name}:")
            try:
                do(host.engines)
            except TrtError as error:
                show(str(error), error=True)
                status = USAGE_ERROR
    return status


def _parse_age(text: str | None) -> float | None:
    """Return an age in seconds. Raise DeclarationError if `text` is not one."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    if found is None:
        raise DeclarationError(f"--older-than is {text!r}: write hours, days or weeks, such as 36h, 30d or 8w")
    return float(found[1]) * _SECONDS_IN[found[2]]


def _print_removed(removed: Iterable[CachedItem]) -> None:
    freed = count = 0
    for item in removed:
        show(f"removed {'  '.join(cell for cell in _row(item) if cell != '-')}")
        freed, count = freed + item.bytes, count + 1
    show(f"{count} removed, {_format_size(freed)} freed")


_HEADINGS = ("engine", "model", "precision", "test", "size", "used", "device and backend")


def _row(item: CachedItem) -> tuple[str, ...]:
    """Return the cells of an engine: the start of its digest, what it was built from and for, its size and last use."""
    used = age(datetime.datetime.fromtimestamp(item.used, datetime.timezone.utc).isoformat())
    size = _format_size(item.bytes)
    if item.meta is None:
        return item.key[:12], "a model that a function returned or a session sent", "-", "-", size, used, "-"
    meta, environment = item.meta, item.meta.environment
    target = f"{environment.device}, {environment.backend} {environment.backend_version}"
    if item.pinned:
        target += ", pinned by a baseline"
    precision = str(meta.spec.get("precision", "-"))
    return item.key[:12], meta.model or "-", precision, meta.test or "-", size, used, target


def _format_size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
