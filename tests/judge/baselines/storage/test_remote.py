"""Test baselines at fsspec URLs: on a real S3 server, a real SFTP server, and in fsspec's own memory."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import TESTS_FOLDER, s3_server, sftp_server
from samples.records import H200, TEST, measurement
from samples.s3_server import BUCKET, Network

from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines import BaselineFolder, device_slug, open_baselines
from pytest_trt.judge.baselines.file_format import MOST_READ
from pytest_trt.judge.baselines.updating import Judged

DEVICE = device_slug(H200)
TESTS = [f"tests/test_models.py::test_{number}" for number in range(30)]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with s3_server.server() as port:
        yield port


@pytest.fixture
def s3(port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a new prefix, with the server and its credentials in the environment."""
    reach(port, monkeypatch)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


def reach(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_server.credentials(port).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["s3", "sftp", "memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param in ("s3", "sftp"):
        yield str(request.getfixturevalue(request.param))
        return
    yield f"memory://{uuid.uuid4().hex}" if request.param == "memory" else f"file://{tmp_path}/baselines"


@pytest.fixture(scope="module")
def sftp_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with sftp_server.server(tmp_path_factory.mktemp("served")) as port:
        yield port


@pytest.fixture
def sftp(sftp_port: int) -> str:
    """Return the URL of a new folder on a server that requires a password."""
    return f"sftp://{sftp_server.USER}:{sftp_server.PASSWORD}@127.0.0.1:{sftp_port}/team/{uuid.uuid4().hex}"


def opened(url: str, name: str = "main") -> BaselineFolder:
    return open_baselines(url, name, revision=None, rootdir=Path())


def save_all(url: str) -> None:
    opened(url).save_all([Judged(measurement(node_id=test), "new") for test in TESTS])


def test_baseline_is_saved_loaded_listed_and_pruned(url: str) -> None:
    folder = opened(url)
    assert not folder.has_any(DEVICE)
    assert folder.load(TEST, DEVICE) is None
    assert folder.save(measurement(), "missing").outcome == "created"
    assert folder.save(measurement(0.273, day=2), "ok").outcome == "recorded"
    baseline = opened(url).load(TEST, DEVICE)
    assert baseline is not None
    assert [run.figures["ms"] for run in baseline.history] == [0.272, 0.273]
    data = opened(url).data(baseline)
    assert data is not None
    assert [len(s.blocks) for s in data.samples] == [len(s.blocks) for s in measurement().samples]
    assert opened(url).has_any(DEVICE)
    (entry,) = opened(url).list()
    assert opened(url).prune(lambda test: test != TEST) == []
    assert opened(url).prune(lambda test: True, dry_run=False) == [entry.path]
    assert list(opened(url).list()) == []


@pytest.mark.usefixtures("forked_children")
def test_two_workers_save_at_once(s3: str) -> None:
    """Both workers save different tests and one common test: all baselines are complete."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom samples.records import measurement\n"
        "from pytest_trt.judge.baselines import open_baselines\n"
        "folder = open_baselines(sys.argv[1], 'main', revision=None, rootdir=Path())\n"
        "for number in range(10):\n"
        "    folder.save(measurement(node_id=f't.py::test_{sys.argv[2]}_{number}'), 'new')\n"
        "    folder.save(measurement(node_id='t.py::both', day=number + 1), 'ok')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(TESTS_FOLDER)}
    workers = [subprocess.Popen([sys.executable, "-c", program, s3, name], env=environment) for name in ("a", "b")]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    found = {entry.content.node_id for entry in opened(s3).list() if not isinstance(entry.content, BaselineError)}
    assert found == {"t.py::both", *(f"t.py::test_{name}_{number}" for name in "ab" for number in range(10))}


def test_prefetched_baselines_are_requested_together(s3: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    save_all(s3)
    with Network(port, delay_s=0.3) as network:
        reach(network.port, monkeypatch)
        folder = opened(s3)
        folder.prefetch([*TESTS, "t.py::absent"], DEVICE)
        assert all(folder.load(test, DEVICE) is not None for test in TESTS)
        assert folder.load("t.py::absent", DEVICE) is None
    assert network.busiest >= 8


def test_password_in_the_url_is_never_shown(sftp: str) -> None:
    assert opened(sftp).where.startswith("sftp://***@127.0.0.1:")
    with pytest.raises(BaselineError, match=r"cannot be reached: AuthenticationException.*give credentials") as caught:
        opened(sftp.replace(sftp_server.PASSWORD, "guessed"))
    assert "guessed" not in str(caught.value)


class LeakyFileSystem(fsspec.AbstractFileSystem):
    """A store whose every error, log line and listed path repeats its URL and what it decoded from it."""

    protocol = "leaky"

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.url, self.lists = str(options["url"]), True

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"url": path}

    def _fail(self, *arguments: object, **options: object) -> NoReturn:
        decoded = urllib.parse.unquote(self.url)
        logging.getLogger("leaky").warning("retrying %s", decoded)
        raise FileExistsError(f"{self.url}: {decoded!r}: {urllib.parse.urlsplit(decoded.replace('leaky', 'http'))}")

    def find(self, path: str, **options: object) -> list[str]:  # type: ignore[override]
        return [f"elsewhere/{self.url}"] if self.lists else self._fail()

    cat_ranges = pipe = pipe_file = makedirs = mv = rm = _fail  # type: ignore[assignment]


@given(st.text(st.characters(codec="utf-8"), max_size=30).map("Zq{}7X".format), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_error_of_a_store_shows_the_credentials(caplog: pytest.LogCaptureFixture, secret: str, quoted: bool) -> None:
    fsspec.register_implementation("leaky", LeakyFileSystem, clobber=True)
    caplog.clear()
    folder = opened(f"leaky://u:{urllib.parse.quote(secret, safe='') if quoted else secret}@h/x")
    storage = folder._storage
    shown = [folder.where, repr(storage)]
    for lists, call in (
        (True, lambda: storage.list("x")),
        (False, lambda: storage.list("x")),
        (False, lambda: storage.read(["a"], 9)),
        (False, lambda: storage.write({"a": b""})),
        (False, lambda: folder.has_any(DEVICE)),
    ):
        storage._fs.lists = lists  # type: ignore[attr-defined]
        with pytest.raises(BaselineError) as caught:
            call()
        assert caught.value.__cause__ is caught.value.__context__ is None
        shown.append("".join(traceback.format_exception(caught.value)))
    assert not [text for text in (*shown, caplog.text) if secret in text]


def test_missing_bucket_is_an_error(s3: str) -> None:
    for ask in (lambda f: f.load(TEST, DEVICE), lambda f: f.has_any(DEVICE), lambda f: f.save(measurement(), "new")):
        with pytest.raises(BaselineError, match="there is no bucket 'nowhere'"):
            ask(opened("s3://nowhere/baselines"))


def test_missing_credentials_are_an_error(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BaselineError, match="AWS_ACCESS_KEY_ID"):
        opened(s3).load(TEST, DEVICE)


def test_unreachable_server_is_an_error(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reach(9, monkeypatch)
    with pytest.raises(BaselineError, match="check the network"):
        opened(s3).load(TEST, DEVICE)


def test_lost_connection_while_reading_is_an_error(s3: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines that were read before are valid; the others are errors, never missing."""
    save_all(s3)
    with Network(port, most_bytes=30_000) as network:
        reach(network.port, monkeypatch)
        folder = opened(s3)
        folder.prefetch(TESTS, DEVICE)
    outcomes = [loaded(folder, test) for test in TESTS]
    assert outcomes.count("lost") > 0
    assert outcomes.count("lost") + outcomes.count("loaded") == len(TESTS)


def loaded(folder: BaselineFolder, test: str) -> str:
    try:
        return "missing" if folder.load(test, DEVICE) is None else "loaded"
    except BaselineError as error:
        return "lost" if "check the network" in str(error) else str(error)


def test_lost_connection_while_saving_keeps_the_old_baseline(
    s3: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(s3).save(measurement(), "missing")
    with Network(port, most_bytes=1) as network:
        reach(network.port, monkeypatch)
        with pytest.raises(BaselineError, match="check the network"):
            opened(s3).save(measurement(0.1, day=2), "improved", improved=("ms",))
    reach(port, monkeypatch)
    baseline = opened(s3).load(TEST, DEVICE)
    assert baseline is not None
    assert baseline.figures["ms"].value == 0.272


def test_broken_object_is_an_error(s3: str) -> None:
    opened(s3).save(measurement(), "missing")
    (entry,) = opened(s3).list()
    store = fsspec.filesystem("s3")
    store.pipe_file(f"{s3.removeprefix('s3://')}/{entry.path}", b"x" * (MOST_READ + 1))
    with pytest.raises(BaselineError, match="more than 65536 bytes"):
        opened(s3).load(TEST, DEVICE)
    store.pipe_file(f"{s3.removeprefix('s3://')}/{entry.path}", b"{")
    with pytest.raises(BaselineError, match="not JSON"):
        opened(s3).load(TEST, DEVICE)


def test_unknown_protocol_is_an_error() -> None:
    with pytest.raises(BaselineError, match="carrier"):
        opened("carrier://pigeon")


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(BaselineError, match=r"pytest-trt\[remote\]"):
        open_baselines("s3://team/x", "main", revision=None, rootdir=Path())
