"""Compute the paths of a test's files in a baseline folder.

Paths are readable, and come from the test's node id and the device alone, never from the contents of a file.
"""

from __future__ import annotations

import functools
import hashlib
import re

from pytest_trt.core.records import Environment
from pytest_trt.errors import BaselineError

_LONGEST = 80
"""The most characters of a folder's or file's name."""


def device_slug(environment: Environment) -> str:
    """Return the name of a device's folder: the device's own name, and the MIG profile of a slice."""
    return slug(f"{environment.device} {'MIG ' + environment.mig_profile if environment.mig_profile else ''}".lower())


@functools.lru_cache(1024)  # many tests have the same file and device
def slug(text: str) -> str:
    """Return a text as a name that is valid in every file system and object store."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:_LONGEST].strip("-.") or "unnamed"


def checked_name(name: str) -> str:
    """Return the name of a set of baselines, which is a folder's name.

    Raises:
        BaselineError: The name could lead to another folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise BaselineError(
            f"baseline name {name!r}: use letters, digits, '.', '_' and '-', and start with a letter or digit"
        )
    return name


def baseline_path(device: str, node_id: str) -> str:
    """Return the path of a test's baseline below the baselines' name. A hash distinguishes tests with the same slug."""
    file, _, test = node_id.partition("::")
    digest = hashlib.sha256(node_id.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{device}/{slug(file)}/{slug(test)}-{digest}.json"


def data_path(device: str, node_id: str) -> str:
    """Return the path of a test's samples, layers and outputs, beside its baseline."""
    return data_beside(baseline_path(device, node_id))


def data_beside(path: str) -> str:
    """Return the path of the samples, layers and outputs that belong to the baseline at this path."""
    folder, _, file = path.rpartition("/")
    return f"{folder}/_data/{file}.gz"
