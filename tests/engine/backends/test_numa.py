"""Test what is read of a NUMA node from text as sysfs has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_trt.engine.backends.numa import node_cpus, numa_node, parse_cpu_list


@pytest.mark.parametrize(("text", "node"), [("1\n", 1), ("0\n", 0), ("-1\n", None), ("", None)])
def test_node_of_a_card_is_found_by_its_pci_address(tmp_path: Path, text: str, node: int | None) -> None:
    folder = tmp_path / "0000:ab:00.0"
    folder.mkdir()
    (folder / "numa_node").write_text(text)
    assert numa_node("0000:AB:00.0", tmp_path) == node
    assert numa_node("0000:19:00.0", tmp_path) is None, "a virtual machine may show no such device"


def test_cpus_of_a_node_are_those_of_its_list(tmp_path: Path) -> None:
    (tmp_path / "node1").mkdir()
    (tmp_path / "node1" / "cpulist").write_text("2-4,66\n")
    assert node_cpus(1, tmp_path) == {2, 3, 4, 66}
    assert node_cpus(0, tmp_path) == frozenset()
    assert parse_cpu_list("\n") == frozenset(), "a node may have memory only"


def test_nodes_of_this_host_cover_its_cpus() -> None:
    nodes = [int(path.name[4:]) for path in Path("/sys/devices/system/node").glob("node[0-9]*")]
    if not nodes:
        pytest.skip("this system reports no NUMA nodes")
    assert os.sched_getaffinity(0) <= frozenset().union(*map(node_cpus, nodes))
