"""Read and write a record about a device, beside the engine cache."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pytest_trt.core import codec, json_text
from pytest_trt.core.atomic import write_atomically
from pytest_trt.core.json_text import JsonLimits
from pytest_trt.core.records import Environment
from pytest_trt.core.scalars import short_repr
from pytest_trt.errors import CacheError, RecordError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class DeviceFile(Generic[T]):
    """One kind of record about a device.

    Attributes:
        record: The type of the record, with the field `device`.
        title: What the record is called in errors, such as "calibration".
        remedy: What to do about a file that cannot be read.
        limits: What a file may contain.
        suffix: The end of the file's name.
        check: Raises RecordError for a record with impossible values.
    """

    record: type[T]
    title: str
    remedy: str
    limits: JsonLimits
    suffix: str
    check: Callable[[T], None] = lambda record: None

    def path(self, cache: Path, environment: Environment, card: str = "") -> Path:
        """Return the path of the record of a device; with `card`, that of this card."""
        name = " ".join(filter(None, (environment.device, environment.mig_profile, environment.backend, card)))
        return cache / "calibration" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-')}{self.suffix}"

    def load(self, path: Path, environment: Environment) -> T | None:
        """Return the record in a file; None if there is no file.

        Raises:
            CacheError: The file cannot be read, or is of another device.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(self.limits.text_bytes + 1)
            return self._parse(raw, environment)
        except FileNotFoundError:
            return None
        except (OSError, RecordError) as error:
            fault = error if isinstance(error, RecordError) else f"cannot be read ({error})"
            raise CacheError(f"the {self.title} {path} {fault}: {self.remedy}") from error

    def save(self, path: Path, record: T) -> Path:
        """Write the record, completely or not at all, and return the path.

        Raises:
            CacheError: The file cannot be written.
        """
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, json.dumps(codec.encode(record)))
        except OSError as error:
            raise CacheError(f"the {self.title} {path} cannot be written: {error}") from error
        return path

    def _parse(self, raw: bytes, environment: Environment) -> T:
        """Return the record. Raise RecordError if it is none, or is of another device."""
        field = self.title.replace("-", "")
        found: Any = codec.decode(self.record, json_text.parse(raw, self.limits), f"has an invalid field: {field}")
        if found.device != environment.device:
            raise RecordError(f"is of the device {short_repr(found.device)}, not of {environment.device!r}")
        self.check(found)
        return found  # type: ignore[no-any-return]
