"""Baselines at an fsspec URL: object stores such as s3://, gs:// and az://, or memory:// and sftp://.

Everything goes in batches, which fsspec's asynchronous file systems run at once: what counts is how long one request
takes, not how many there are.
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
"""Protocols whose first path component is a bucket, which must exist, and where a put is whole or not at all."""

_WRITING = ".writing-"
_S3 = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 1}, "max_pool_connections": 64}
"""How long S3 is waited for (seconds, tries), and how many requests may be under way at once (botocore has 10)."""

_PASSWORD = re.compile(r"^(\w+://[^/@:]*):[^/@]*@")
_TRIES = 2
_NO_CREDENTIALS = (
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError",
    "AuthenticationException", "ClientAuthenticationError",
)  # fmt: skip


class RemoteStorage:
    """The folder at `url`. Raises BaselineError where its file system is not installed."""

    def __init__(self, url: str) -> None:
        self.where = _PASSWORD.sub(r"\1:***@", url.rstrip("/"))  # logs are read by many
        protocol = url.partition("://")[0]
        try:
            import fsspec
        except ImportError as error:
            raise BaselineError(f"{self.where} needs fsspec: pip install 'pytest-trt[remote]'") from error
        options: dict[str, Any] = {"config_kwargs": _S3} if protocol in ("s3", "s3a") else {}
        if protocol in BUCKETS:  # sftp would hand what it does not know to its client
            options["use_listings_cache"] = False
        try:
            self._fs, root = fsspec.core.url_to_fs(url.rstrip("/"), skip_instance_cache=True, **options)
        except Exception as error:  # some connect at once, and their clients' exceptions share no base
            if isinstance(error, ImportError) or "protocol not known" in str(error).lower():
                message = f"{self.where} cannot be opened ({error}): install what serves {protocol}://"
                raise BaselineError(message) from error
            raise BaselineError(f"baselines at {self.where} cannot be reached: {_reason(error)}") from error
        if hasattr(self._fs, "retries"):
            self._fs.retries = _TRIES  # s3fs's own loop around botocore's
        self._root = str(root).rstrip("/")
        self._bucket = self._root.partition("/")[0] if protocol in BUCKETS else ""
        self._puts_whole = bool(self._bucket) or protocol == "memory"

    def read(self, paths: Sequence[str], most: int) -> dict[str, Content]:
        if not paths:
            return {}
        self._check_bucket()
        full = [self._full(path) for path in paths]
        # a range bounds what is read, and spares the request for the size
        answers = self._asked("read", lambda: self._fs.cat_ranges(full, 0, most + 1, on_error="return"))
        return {path: self._content(path, answer, most) for path, answer in zip(paths, answers, strict=True)}

    def _content(self, path: str, answer: Any, most: int) -> Content:
        if isinstance(answer, FileNotFoundError):
            return None
        if isinstance(answer, BaseException):
            return BaselineError(f"baseline {self.where}/{path} cannot be read: {_reason(answer)}")
        if len(answer) > most:
            return BaselineError(f"baseline {self.where}/{path} has more than {most} bytes, the most that is read")
        return bytes(answer)

    def write(self, files: Mapping[str, bytes]) -> None:
        self._check_bucket()
        full = {self._full(path): content for path, content in files.items()}
        self._asked("saved", lambda: self._put(full) if self._puts_whole else self._put_and_move(full))

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
        there = set(self.list(""))
        gone = [self._full(path) for path in paths if path in there]
        if gone:
            self._asked("removed", lambda: self._fs.rm(gone))

    def list(self, prefix: str) -> list[str]:
        self._check_bucket()
        try:
            found = self._asked("listed", lambda: self._fs.find(self._full(prefix).rstrip("/")))
        except BaselineError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise
        below = [str(path).removeprefix(f"{self._root}/") for path in found]
        return sorted(path for path in below if not path.rpartition("/")[2].startswith(_WRITING))

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _check_bucket(self) -> None:
        """A file that is not there and a bucket that is not there are one error to fsspec, and two to a team."""
        if self._bucket:
            try:
                self._asked("read", lambda: self._fs.info(self._bucket))
            except BaselineError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    message = f"baselines at {self.where}: there is no bucket {self._bucket!r}: create or correct it"
                    raise BaselineError(message) from error
                if not isinstance(error.__cause__, PermissionError):  # who may not ask may still be let read
                    raise
            self._bucket = ""

    def _asked(self, done: str, ask: Callable[[], T]) -> T:
        """What the store answers; BaselineError for whatever it raises."""
        try:
            return ask()
        except Exception as error:  # every store has exceptions of its own, and they share no base
            raise BaselineError(f"baselines at {self.where} cannot be {done}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    name = type(error).__name__
    said = f"{name}: {str(error).strip() or 'no reason given'}"
    if name in _NO_CREDENTIALS or "credential" in said:
        return f"{said}: give credentials, for S3 by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or by a profile"
    if isinstance(error, PermissionError):
        return f"{said}: these credentials may not; they need to list, read and (to save) write there"
    return f"{said}: check the network and the URL, and run again"
