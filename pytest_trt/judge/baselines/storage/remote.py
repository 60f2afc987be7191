"""Store baselines at an fsspec URL: object stores such as s3://, gs:// and az://, or memory:// and sftp://.

Files are read and written in batches, which fsspec's asynchronous file systems run at the same time. So the time
depends on how long one request takes, not on how many there are.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pytest_trt.core.location import Location, hidden_in_logs
from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines.storage.base import Content

T = TypeVar("T")

BUCKETS = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss"))
"""Protocols that write a file completely or not at all. The first component of their paths is a bucket, which must
exist."""

_WRITING = ".writing-"
"""How the names of files start that are being written."""

_S3 = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 1}, "max_pool_connections": 64}
"""How long to wait for S3, in seconds, how often to try, and how many requests run at the same time (botocore: 10)."""

_TRIES = 2
"""How often s3fs tries a request."""

_CREDENTIAL_ERRORS = (
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError",
    "AuthenticationException", "ClientAuthenticationError",
)  # fmt: skip
"""The names of errors for missing or wrong credentials, in the clients of the stores."""


class _StoreError(BaselineError):
    """An error of the store or of its client.

    It does not have the client's error as its cause, which may contain the credentials in the URL.

    Attributes:
        kind: The class of the client's error.
    """

    def __init__(self, message: str, kind: type[BaseException]) -> None:
        super().__init__(message)
        self.kind = kind


class RemoteStorage:
    """A storage (see `base.Storage`) at an fsspec URL.

    Args:
        location: The folder's URL. No message shows the credentials in it.

    Raises:
        BaselineError: fsspec or the URL's file system is not installed, or the store cannot be reached.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self.where = str(location).rstrip("/")
        protocol = location.protocol
        try:
            import fsspec
        except ImportError as error:
            raise BaselineError(f"{self.where} needs fsspec: pip install 'pytest-trt[remote]'") from error
        options: dict[str, Any] = {"config_kwargs": _S3} if protocol in ("s3", "s3a") else {}
        if protocol in BUCKETS:  # sftp would pass an unknown option to its client
            options["use_listings_cache"] = False
        self._fs, root = self._call(  # some file systems connect here
            "cannot be reached",
            lambda: fsspec.core.url_to_fs(location.reveal().rstrip("/"), skip_instance_cache=True, **options),
        )
        if hasattr(self._fs, "retries"):
            self._fs.retries = _TRIES  # s3fs's own loop around botocore's
        self._root = str(root).rstrip("/")
        self._bucket = self._root.partition("/")[0] if protocol in BUCKETS else ""
        self._puts_whole = bool(self._bucket) or protocol == "memory"

    def read(self, paths: Sequence[str], most: int) -> dict[str, Content]:
        """Read files in one batch."""
        if not paths:
            return {}
        self._check_bucket()
        # A range limits how much is read, without a request for the size.
        answers = self._call(
            "cannot be read", lambda: self._fs.cat_ranges([*map(self._full, paths)], 0, most + 1, on_error="return")
        )
        return {path: self._content(path, answer, most) for path, answer in zip(paths, answers, strict=True)}

    def _content(self, path: str, answer: Any, most: int) -> Content:
        if isinstance(answer, FileNotFoundError):
            return None
        if isinstance(answer, BaseException):
            return BaselineError(f"baseline {self.where}/{path} cannot be read: {self._reason(answer)}")
        if len(answer) > most:
            return BaselineError(f"baseline {self.where}/{path} has more than {most} bytes: remove it")
        return bytes(answer)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files: in one batch if the store writes each completely, otherwise one by one under another name."""
        self._check_bucket()
        put = self._put if self._puts_whole else self._put_and_move
        self._call("cannot be saved", lambda: put(files))

    def _put(self, files: Mapping[str, bytes]) -> None:
        self._fs.pipe({self._full(path): content for path, content in files.items()})

    def _put_and_move(self, files: Mapping[str, bytes]) -> None:
        for below, content in files.items():
            path = self._full(below)
            folder, _, name = path.rpartition("/")
            draft = f"{folder}/{_WRITING}{secrets.token_hex(8)}-{name}"
            self._fs.makedirs(folder, exist_ok=True)
            self._fs.pipe_file(draft, content)
            self._fs.mv(draft, path)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; those that do not exist are ignored."""
        existing = set(self.list(""))
        found = [path for path in paths if path in existing]
        if found:
            self._call("cannot be removed", lambda: self._fs.rm([*map(self._full, found)]))

    def list(self, prefix: str) -> list[str]:
        """Return the sorted paths of all files below a folder, without those that are being written."""
        self._check_bucket()
        try:
            found = self._call("cannot be listed", lambda: self._fs.find(self._full(prefix).rstrip("/")))
        except _StoreError as error:
            if issubclass(error.kind, FileNotFoundError):
                return []
            raise
        root = f"{self._root}/"
        if not all(str(path).startswith(root) for path in found):  # A path from elsewhere may show credentials.
            raise BaselineError(f"baselines at {self.where}: the store lists files outside of it: correct the URL")
        below = [str(path).removeprefix(root) for path in found]
        return sorted(path for path in below if not path.rpartition("/")[2].startswith(_WRITING))

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _check_bucket(self) -> None:
        """Raise BaselineError if there is no bucket: to fsspec, that is the same error as a missing file."""
        if self._bucket:
            try:
                self._call("cannot be read", lambda: self._fs.info(self._bucket))
            except _StoreError as error:
                if issubclass(error.kind, FileNotFoundError):
                    name = self.where.partition("://")[2].rpartition("@")[2].partition("/")[0]
                    message = f"baselines at {self.where}: there is no bucket {name!r}: create it, or correct the URL"
                    raise BaselineError(message) from error
                if not issubclass(error.kind, PermissionError):  # reading may still be permitted
                    raise
            self._bucket = ""

    def _call(self, failure: str, request: Callable[[], T]) -> T:
        """Return what a request returns; raise _StoreError for any error of the store, with `failure` in its text."""
        try:
            with hidden_in_logs(self._location):
                return request()
        except Exception as error:  # noqa: BLE001 - the stores' exceptions have no common base class
            store_error = self._store_error(failure, error)
        raise store_error  # Outside of the handler, so that the client's error is not part of the traceback.

    def _store_error(self, failure: str, error: Exception) -> _StoreError:
        if isinstance(error, ImportError) or "protocol not known" in str(error).lower():
            text = self._location.hide_in(str(error))
            remedy = f"install the fsspec package for {self._location.protocol}://"
            return _StoreError(f"{self.where} cannot be opened ({text}): {remedy}", type(error))
        return _StoreError(f"baselines at {self.where} {failure}: {self._reason(error)}", type(error))

    def _reason(self, error: BaseException) -> str:
        name, text = type(error).__name__, str(error).strip()
        reason = f"{name}: {self._location.hide_in(text) if text else 'no reason given'}"
        if name in _CREDENTIAL_ERRORS or "credential" in text:
            return f"{reason}: give credentials, for S3 by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or by a profile"
        if isinstance(error, PermissionError):
            return f"{reason}: the credentials must permit to list, read and (to save) write there"
        return f"{reason}: check the network and the URL, and run again"
