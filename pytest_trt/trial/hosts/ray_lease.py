"""Start Python on a node of a Ray cluster: `python -m pytest_trt.trial.hosts.ray_lease OPTIONS ARGUMENTS`.

OPTIONS is a JSON object with the `address` of the cluster, and the options of the actor, such as `num_gpus` and
`accelerator_type`. Ray chooses the node, and queues the actor until one has a free GPU. The actor runs an interpreter
with ARGUMENTS; its standard input and output are those of this process. The actor ends with this process, and the
interpreter with the actor.

This module runs as `__main__`, so that Ray sends the class by value: pytest-trt need not be installed on the nodes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

_PART = 1 << 20


class Lease:
    """The interpreter on the node, in an actor. Its methods run at the same time.

    Args:
        arguments: The arguments of the interpreter.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def write(self, data: bytes) -> None:
        """Write to the interpreter's input."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def read(self) -> bytes:
        """Return what the interpreter has written; empty once it has ended."""
        assert self._process.stdout is not None
        return os.read(self._process.stdout.fileno(), _PART)


def main() -> None:
    """Lease a place in the cluster, and pass bytes on until either end closes."""
    options = json.loads(sys.argv[1])
    output = os.dup(1)
    os.dup2(2, 1)  # Ray prints, and the output carries frames
    try:
        import ray
    except ImportError as error:
        raise SystemExit(f"ray cannot be imported ({error}): pip install 'pytest-trt[ray]'") from error
    try:
        ray.init(address=options.pop("address"), log_to_driver=False, logging_level="ERROR", configure_logging=False)
        actor = ray.remote(Lease).options(max_concurrency=4, **options).remote(sys.argv[2:])
    except Exception as error:  # noqa: BLE001 - Ray raises many kinds, such as one for another version of Python
        raise SystemExit(_one_line(error)) from None
    threading.Thread(target=_send, args=(ray, actor), daemon=True).start()
    try:
        while data := ray.get(actor.read.remote()):
            while data:
                data = data[os.write(output, data) :]
    except ray.exceptions.RayError as error:
        sys.stderr.write(f"{_one_line(error)}\n")
        os._exit(1)
    except OSError:  # the session has ended
        pass
    os._exit(0)  # the actor ends with its driver


def _send(ray: Any, actor: Any) -> None:
    """Pass the input on; at its end, end this process."""
    with contextlib.suppress(ray.exceptions.RayError):
        while data := os.read(0, _PART):
            ray.get(actor.write.remote(data))
    ray.kill(actor)
    os._exit(0)


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:3]) or type(error).__name__


if __name__ == "__main__":
    main()
