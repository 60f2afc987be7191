"""A Ray cluster of three nodes on this machine, in a process of its own: a head, and two nodes with one GPU each.

Ray does not look whether there is a GPU.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Start the cluster, and yield its address."""
    if importlib.util.find_spec("ray") is None and not os.environ.get("CI"):
        pytest.skip("needs the package ray: pip install 'pytest-trt[ray]'")
    command, environment = [sys.executable, __file__], {**os.environ, **QUIET}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        lines = (line.strip() for line in process.stdout)
        try:
            yield next(line.removeprefix("address ") for line in lines if line.startswith("address "))
        finally:
            process.stdin.close()
            process.wait()


def main() -> None:
    from ray.cluster_utils import Cluster

    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    fewer = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}  # processes
    head = {"num_cpus": 0, "num_gpus": 0, "_system_config": soon, **fewer}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        nodes.add_node(num_cpus=1, num_gpus=1, **fewer)
    print("address", nodes.address, flush=True)
    sys.stdin.read()
    nodes.shutdown()


if __name__ == "__main__":
    main()
