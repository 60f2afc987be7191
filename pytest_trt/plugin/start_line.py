"""Say at the start of a run where it measures, what it compares with, and where engines are cached."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_trt.core.foreign_text import escape
from pytest_trt.engine.cache.folder import cache_folder
from pytest_trt.errors import TrtError
from pytest_trt.plugin.baseline_source import BaselineSource
from pytest_trt.report.header import describe_cards
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.settings import Settings

if TYPE_CHECKING:
    from pytest_trt.plugin.session import Session


def start_line(session: Session, declared: Sequence[Declaration]) -> str:
    """Return one line: the devices and backends, the baseline and where it comes from, the engine cache.

    It is empty if the tests are only listed or are not measured.
    """
    settings, bench = session.settings, session.bench
    if session.problems or session.collecting.only_lists or settings.disabled or session.config.get_verbosity() < 0:
        return ""
    where: dict[str, None] = {}
    for declaration in declared:
        with contextlib.suppress(TrtError):  # The test itself fails with it.
            environment = bench.environment_of(declaration)
            cards = (environment,) if settings.build_only else bench.pool.cards(environment.backend)
            where[describe_cards(cards)] = None
    cache = "no engine cache" if settings.no_cache else f"engine cache {cache_folder(settings)}"
    return escape(
        "; ".join(
            (
                "trt: " + " and ".join(where or ["no device"]),
                _baseline(settings, session.baseline_source),
                cache,
            )
        )
    )


def _baseline(settings: Settings, source: BaselineSource) -> str:
    if source.worktree is not None:
        return f"compared with the engines of {source.worktree.name} ({source.worktree.short})"
    if settings.baseline is None:
        return "no baseline"
    at = f" at the git revision {settings.baseline_ref}" if settings.baseline_ref is not None else ""
    return f"baseline {settings.baseline} in {settings.baseline_dir}{at}"
