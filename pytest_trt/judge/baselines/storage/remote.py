"""Store baselines at an fsspec URL: object stores such as s3://, gs:// and az://, or memory:// and sftp://.

Files are read and written in batches, which fsspec's asynchronous file systems run at the same time. So the time
depends on how long one request takes, not on how many there are.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

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

_PASSWORD = re.compile(r"^(\w+://[^/@:]*):[^/@]*@")
"""A URL with a password."""

_TRIES = 2
"""How often s3fs tries a request."""

_CREDENTIAL_ERRORS = (
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError",
    "AuthenticationException", "ClientAuthenticationError",
)  # fmt: skip
"""The names of errors for missing or wrong credentials, in the clients of the stores."""


class RemoteStorage:
    """A storage (see `base.Storage`) at an fsspec URL.

    Args:
        url: The folder's URL.

    Raises:
        BaselineError: fsspec or the URL's file system is not installed, or the store cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.where = _PASSWORD.sub(r"\1:***@", url.rstrip("/"))  # messages must not show the password
        protocol = url.partition("://")[0]
        try:
            import fsspec
        except ImportError as error:
            raise BaselineError(f"{self.where} needs fsspec: pip install 'pytest-trt[remote]'") from error
        options: dict[str, Any] = {"config_kwargs": _S3} if protocol in ("s3", "s3a") else {}
        if protocol in BUCKETS:  # sftp would pass an unknown option to its client
            options["use_listings_cache"] = False
        try:
            self._fs, root = fsspec.core.url_to_fs(url.rstrip("/"), skip_instance_cache=True, **options)
        except Exception as error:  # some connect here, and their clients' exceptions have no common base class
            if isinstance(error, ImportError) or "protocol not known" in str(error).lower():
                message = f"{self.where} cannot be opened ({error}): install the fsspec package for {protocol}://"
                raise BaselineError(message) from error
            raise BaselineError(f"baselines at {self.where} cannot be reached: {_reason(error)}") from error
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
        full = [self._full(path) for path in paths]
        # A range limits how much is read, without a request for the size.
        answers = self._call("read", lambda: self._fs.cat_ranges(full, 0, most + 1, on_error="return"))
        return {path: self._content(path, answer, most) for path, answer in zip(paths, answers, strict=True)}

    def _content(self, path: str, answer: Any, most: int) -> Content:
        if isinstance(answer, FileNotFoundError):
            return None
        if isinstance(answer, BaseException):
            return BaselineError(f"baseline {self.where}/{path} cannot be read: {_reason(answer)}")
        if len(answer) > most:
            return BaselineError(f"baseline {self.where}/{path} has more than {most} bytes: remove it")
        return bytes(answer)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files: in one batch if the store writes each completely, otherwise one by one under another name."""
        self._check_bucket()
        full = {self._full(path): content for path, content in files.items()}
        self._call("saved", lambda: self._put(full) if self._puts_whole else self._put_and_move(full))

    def _put(self, files: dict[str, bytes]) -> None:
        self._fs.pipe(files)

    def _put_and_move(self, files: dict[str, bytes]) -> None:
        for path, content in files.items():
            folder, _, name = path.rpartition("/")
            draft = f"{folder}/{_WRITING}{secrets.token_hex(8)}-{name}"
            self._fs.makedirs(folder, exist_ok=True)
            self._fs.pipe_file(draft, content)
            self._fs.mv(draft, path)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; those that do not exist are ignored."""
        existing = set(self.list(""))
        full = [self._full(path) for path in paths if path in existing]
        if full:
            self._call("removed", lambda: self._fs.rm(full))

    def list(self, prefix: str) -> list[str]:
        """Return the sorted paths of all files below a folder, without those that are being written."""
        self._check_bucket()
        try:
            found = self._call("listed", lambda: self._fs.find(self._full(prefix).rstrip("/")))
        except BaselineError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise
        below = [str(path).removeprefix(f"{self._root}/") for path in found]
        return sorted(path for path in below if not path.rpartition("/")[2].startswith(_WRITING))

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _check_bucket(self) -> None:
        """Raise BaselineError if there is no bucket: to fsspec, that is the same error as a missing file."""
        if self._bucket:
            try:
                self._call("read", lambda: self._fs.info(self._bucket))
            except BaselineError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    message = (
                        f"baselines at {self.where}: there is no bucket {self._bucket!r}: create it, or correct the URL"
                    )
                    raise BaselineError(message) from error
                if not isinstance(error.__cause__, PermissionError):  # to read may be permitted all the same
                    raise
            self._bucket = ""

    def _call(self, done: str, request: Callable[[], T]) -> T:
        """Return what a request returns; raise BaselineError for any error of the store."""
        try:
            return request()
        except Exception as error:  # the stores' exceptions have no common base class
            raise BaselineError(f"baselines at {self.where} cannot be {done}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    name = type(error).__name__
    reason = f"{name}: {str(error).strip() or 'no reason given'}"
    if name in _CREDENTIAL_ERRORS or "credential" in reason:
        return f"{reason}: give credentials, for S3 by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or by a profile"
    if isinstance(error, PermissionError):
        return f"{reason}: the credentials must permit to list, read and (to save) write there"
    return f"{reason}: check the network and the URL, and run again"
