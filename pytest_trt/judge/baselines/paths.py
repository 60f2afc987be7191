"""Where in a baseline folder a test's files lie: readable, and never taken from what a file says."""

from __future__ import annotations

import functools
import hashlib
import re

from pytest_trt.core.records import Environment
from pytest_trt.errors import BaselineError

_LONGEST = 80


def device_slug(environment: Environment) -> str:
    """The device as a folder's name: its own name, and its slice where it is one."""
    return slug(f"{environment.device} {'MIG ' + environment.mig_profile if environment.mig_profile else ''}".lower())


@functools.lru_cache(1024)  # of many tests, files and devices are the same
def slug(text: str) -> str:
    """`text` as a name that every file system and object store takes."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:_LONGEST].strip("-.") or "unnamed"


def checked_name(name: str) -> str:
    """A baseline's name, which is a folder's. Raises BaselineError for what would lead elsewhere."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise BaselineError(f"baseline name {name!r}: use letters, digits, '.', '_' and '-', the first no sign")
    return name


def baseline_path(device: str, node_id: str) -> str:
    """The path of a test's baseline below the baseline's name. A hash keeps apart what a slug cannot."""
    file, _, test = node_id.partition("::")
    digest = hashlib.sha256(node_id.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{device}/{slug(file)}/{slug(test)}-{digest}.json"


def data_path(device: str, node_id: str) -> str:
    """The path of its samples and layers."""
    folder, _, file = baseline_path(device, node_id).rpartition("/")
    return f"{folder}/_data/{file}.gz"
