"""The pytest that runs in a revision's worktree: builds what tests declare there, and writes it down.

`python -c START REQUEST PARENT PATH...` (see against.building): what stands in sys.path of the pytest that asks is led
to the worktree, so that the revision's own modules are loaded.
"""

from __future__ import annotations

import json
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
from pytest_trt.spec.options import OPTIONS
from pytest_trt.trial.against.build import KEPT
from pytest_trt.trial.against.revision import Built, Found, Request
from pytest_trt.trial.trial import Trial

_OFF: dict[str, Any] = {
    "basetemp": None, "collectonly": False, "continue_on_collection_errors": False, "deselect": None, "dist": "no",
    "failedfirst": False, "keyword": "", "lf": False, "markexpr": "", "maxfail": 0, "newfirst": False,
    "numprocesses": None, "stepwise": False, "trace": False, "tx": [], "usepdb": False, "xmlpath": None,
}  # fmt: skip
"""Options of pytest and xdist that would choose other tests, run them elsewhere, or overwrite the other run's files."""


def main() -> None:
    request: Request = from_json(Request, Path(sys.argv[1]).read_text())
    die_with_parent(int(sys.argv[2]))
    ground = Ground(request)
    sys.path[:] = [ground.moved(path) for path in sys.path]
    sys.argv[1:] = request.arguments
    sys.exit(pytest.main(list(request.arguments), plugins=[Declaring(request, ground)]))


class Ground:
    """Which paths are the checkout's own, and may not be loaded from. An interpreter's environment may lie in it."""

    def __init__(self, request: Request) -> None:
        self._checkout, self._tree = Path(request.checkout), Path(request.tree)
        installed = (sys.prefix, sys.exec_prefix, *site.getsitepackages(), site.getusersitepackages())
        ours = (str(Path(__file__).parents[1]), request.cache_dir)
        self._allowed = tuple(Path(path).resolve() for path in (request.tree, *installed, *ours))

    def forbidden(self, path: str | Path) -> bool:
        here = Path(path).resolve()
        return here.is_relative_to(self._checkout) and not any(here.is_relative_to(a) for a in self._allowed)

    def moved(self, path: str) -> str:
        """A path of the checkout as it is in the worktree."""
        return str(self._tree / Path(path).resolve().relative_to(self._checkout)) if self.forbidden(path) else path

    def modules(self) -> Iterator[str]:
        """What was loaded from the checkout."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and self.forbidden(file):
                yield f"the module {name} from {file}"


class Declaring:
    """A plugin that has the wanted tests built and run no further."""

    def __init__(self, request: Request, ground: Ground) -> None:
        self._request, self._ground = request, ground
        self._built: dict[str, Built] = {}
        self._skipped: dict[str, str] = {}
        self._faults: dict[str, str] = {}
        self._problems: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        for name, value in _OFF.items():
            if hasattr(config.option, name):
                setattr(config.option, name, value)
        for option in OPTIONS:
            if option.flag not in KEPT:
                setattr(config.option, option.name, None)
        config.option.trt_build_only, config.option.trt_cache_dir = True, self._request.cache_dir
        files = dict.fromkeys(Path(self._request.rootdir) / test.partition("::")[0] for test in self._request.wanted)
        config.args = [str(file) for file in files if file.exists()]
        if not config.args:
            self._write()
            pytest.exit("none of the files is there", 5)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = frozenset(self._request.wanted)
        items[:] = [item for item in items if item.nodeid in wanted]

    def pytest_collection_finish(self) -> None:
        if self._leaks(*self._ground.modules()):
            pytest.exit(self._problems[0], 4)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        report = yield
        why = call.excinfo.value if call.excinfo is not None else None
        if isinstance(why, (pytest.skip.Exception, pytest.xfail.Exception)):
            self._skipped.setdefault(item.nodeid, str(why))
        elif why is not None:
            self._faults.setdefault(item.nodeid, str(why) or type(why).__name__)
        elif call.when == "call" and TRIAL in item.stash:
            self._note(item.nodeid, item.stash[TRIAL])
        return report

    def _note(self, node_id: str, trial: Trial) -> None:
        try:
            if not self._leaks(*self._loaded_by(node_id, trial)):
                self._built[node_id] = _built(trial)
        except TrtError as error:
            self._faults[node_id] = str(error)

    def _loaded_by(self, node_id: str, trial: Trial) -> Iterator[str]:
        if self._ground.forbidden(trial.model.path):
            yield f"the model of {node_id} from {trial.model.path}"

    def _leaks(self, *loaded: str) -> bool:
        """Whether anything was loaded from the checkout; if so, that is what there is to say."""
        if loaded:
            self._problems.append(
                f"--trt-against: the revision's collection loads {', '.join(loaded[:5])}, out of the checkout and not "
                "out of its worktree, so that the checkout would be compared with itself: where an editable install "
                "or a setting leads there, put the folder on pytest's `pythonpath`, or write the path relative"
            )
        return bool(loaded)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        if not self._problems:
            self._leaks(*self._ground.modules())  # what fixtures and functions imported
        self._write()

    def _write(self) -> None:
        found = Found(self._built, self._skipped, self._faults, tuple(self._problems))
        write_atomically(Path(self._request.found), json.dumps(codec.encode(found)))


def _built(trial: Trial) -> Built:
    engine, description = trial.engine, trial.description
    subject = trial.subject(engine)
    return Built(
        model=str(trial.model.path.absolute()),
        backend=trial.backend,
        environment=trial.environment,
        engine_digest=engine.digest,
        plan=str(engine.plan),
        plan_sha256=engine.plan_sha256,
        spec=subject.spec.without_functions,
        shapes=subject.shapes,
        pipeline=subject.options,
        description=description,
        spec_digest=description_digest(description),
    )
