"""Run pytest in a revision's worktree: build the engines that tests declare there, and write down the outcome.

`pytest_trt.trial.against.build` starts it as `python -c CODE REQUEST PARENT PATH...`, with the path of a BuildRequest,
the process id of the pytest that compares, and that pytest's `sys.path`. Entries of `sys.path` in the checkout are
replaced by the same folders of the worktree, so that the revision's own modules are loaded.
"""

from __future__ import annotations

import json
import signal
import site
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_trt.core import codec
from pytest_trt.core.atomic import write_atomically
from pytest_trt.core.codec import from_json
from pytest_trt.errors import TrtError
from pytest_trt.measure.probe.__main__ import die_with_parent
from pytest_trt.plugin.stash import TRIAL
from pytest_trt.spec.description import description_digest
from pytest_trt.spec.hosts import NO_HOSTS
from pytest_trt.spec.options import OPTIONS
from pytest_trt.trial.against.build import FORWARDED_FLAGS
from pytest_trt.trial.against.revision import BuildOutcome, BuildRequest, RevisionEngine
from pytest_trt.trial.trial import Trial

_DEFAULTS: dict[str, Any] = {
    "basetemp": None, "collectonly": False, "continue_on_collection_errors": False, "deselect": None, "dist": "no",
    "failedfirst": False, "keyword": "", "lf": False, "markexpr": "", "maxfail": 0, "newfirst": False,
    "numprocesses": None, "stepwise": False, "trace": False, "tx": [], "usepdb": False, "xmlpath": None,
}  # fmt: skip
"""The defaults of pytest's and xdist's options that would select other tests, run them elsewhere, or overwrite files of
the run that compares."""


def main() -> None:
    """Run pytest as the request says, and exit with its status. The process ends early if its parent ends."""
    request: BuildRequest = from_json(BuildRequest, Path(sys.argv[1]).read_text())
    die_with_parent(int(sys.argv[2]))
    # The parent ends this process with SIGINT, which is ignored if a shell has started the run in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    guard = CheckoutGuard(request)
    sys.path[:] = [found for path in sys.path for found in guard.import_paths(path)]
    sys.argv[1:] = request.arguments
    sys.exit(pytest.main(list(request.arguments), plugins=[RevisionBuildPlugin(request, guard)]))


class CheckoutGuard:
    """Knows which paths belong to the user's checkout, from which nothing may be loaded.

    The interpreter's environment, this package and the engine cache may lie in the checkout; they may be used.
    """

    def __init__(self, request: BuildRequest) -> None:
        self._checkout, self._tree = Path(request.checkout), Path(request.tree)
        installed = (sys.prefix, sys.exec_prefix, *site.getsitepackages(), site.getusersitepackages())
        ours = (str(Path(__file__).parents[1]), request.cache_dir)
        self._allowed = tuple(Path(path).resolve() for path in (request.tree, *installed, *ours))

    def is_in_checkout(self, path: str | Path) -> bool:
        """Return whether the path belongs to the checkout, and not to what may be used."""
        resolved = Path(path).resolve()
        in_allowed = any(resolved.is_relative_to(folder) for folder in self._allowed)
        return resolved.is_relative_to(self._checkout) and not in_allowed

    def path_in_worktree(self, path: str) -> str:
        """Return the path in the worktree of a file or folder of the checkout; any other path unchanged."""
        if not self.is_in_checkout(path):
            return path
        return str(self._tree / Path(path).resolve().relative_to(self._checkout))

    def import_paths(self, path: str) -> list[str]:
        """Return the entries of `sys.path` that stand for `path`, an entry of the run that compares.

        If the checkout itself is a package, it is imported by its name from the folder around it. The worktree has the
        same name, and the folder around it comes first.
        """
        around = Path(path).resolve() == self._checkout.parent and (self._checkout / "__init__.py").exists()
        return [*([str(self._tree.parent)] if around else ()), self.path_in_worktree(path)]

    def leaked_modules(self) -> Iterator[str]:
        """Yield a description of each module that was loaded from the checkout."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and self.is_in_checkout(file):
                yield f"the module {name} from {file}"


class RevisionBuildPlugin:
    """A pytest plugin that builds the engines of the requested tests, and runs none of them."""

    def __init__(self, request: BuildRequest, guard: CheckoutGuard) -> None:
        self._request, self._guard = request, guard
        self._engines: dict[str, RevisionEngine] = {}
        self._skipped: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._problems: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Reset the options that must not apply here, and collect only the files of the requested tests."""
        for name, value in _DEFAULTS.items():
            if hasattr(config.option, name):
                setattr(config.option, name, value)
        for option in OPTIONS:
            if option.flag not in FORWARDED_FLAGS:
                setattr(config.option, option.destination, None)
        config.option.trt_build_only, config.option.trt_cache_dir = True, self._request.cache_dir
        config.option.trt_host = list(self._request.hosts) or [NO_HOSTS]
        files = dict.fromkeys(Path(self._request.rootdir) / test.partition("::")[0] for test in self._request.node_ids)
        config.args = [str(file) for file in files if file.exists()]
        if not config.args:
            self._write_outcome()
            pytest.exit("none of the files exists at this revision", 5)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep only the requested tests."""
        requested = frozenset(self._request.node_ids)
        items[:] = [item for item in items if item.nodeid in requested]

    def pytest_collection_finish(self) -> None:
        """End the run if the collection loaded modules from the checkout."""
        if self._add_leaks(*self._guard.leaked_modules()):
            pytest.exit(self._problems[0], 4)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Record the engine of the test, why it is skipped, or why its engine cannot be built."""
        report = yield
        error = call.excinfo.value if call.excinfo is not None else None
        if isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception)):
            self._skipped.setdefault(item.nodeid, str(error))
        elif error is not None:
            self._failed.setdefault(item.nodeid, str(error) or type(error).__name__)
        elif call.when == "call" and TRIAL in item.stash:
            self._add_engine(item.nodeid, item.stash[TRIAL])
        return report

    def _add_engine(self, node_id: str, trial: Trial) -> None:
        try:
            model = trial.model.path
            if self._guard.is_in_checkout(model):
                self._add_leaks(f"the model of {node_id} from {model}")
            else:
                self._engines[node_id] = _engine_of(trial)
        except TrtError as error:
            self._failed[node_id] = str(error)

    def _add_leaks(self, *loaded: str) -> bool:
        """Add a problem if anything was loaded from the checkout, and return whether there is one."""
        if loaded:
            self._problems.append(
                f"--trt-against: at the revision, pytest loads {', '.join(loaded[:5])}, out of the checkout and not "
                "out of its worktree, so that the checkout would be compared with itself. If an editable install or a "
                "setting names the checkout, add the folder to pytest's `pythonpath` instead, or write a relative path"
            )
        return bool(loaded)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Check again for modules from the checkout, which fixtures may have imported, and write the outcome."""
        if not self._problems:
            self._add_leaks(*self._guard.leaked_modules())
        self._write_outcome()

    def _write_outcome(self) -> None:
        outcome = BuildOutcome(self._engines, self._skipped, self._failed, tuple(self._problems))
        write_atomically(Path(self._request.output), json.dumps(codec.encode(outcome)))


def _engine_of(trial: Trial) -> RevisionEngine:
    engine, description = trial.engine, trial.description
    subject = trial.subject(engine)
    return RevisionEngine(
        model=str(trial.model.path.resolve()),
        backend=trial.backend,
        environment=trial.environment,
        engine_digest=engine.digest,
        plan=str(engine.plan),
        plan_sha256=engine.plan_sha256,
        spec=trial.spec.without_functions,
        shapes=subject.shapes,
        pipeline=subject.options,
        description=description,
        spec_digest=description_digest(description),
        run=trial.declaration.run,
        size_mb=engine.size_mb,
    )
