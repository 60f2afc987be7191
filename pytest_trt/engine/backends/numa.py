"""Find the NUMA node of a PCI device, and the CPUs of a node, in Linux's sysfs."""

from __future__ import annotations

from pathlib import Path

PCI_DEVICES = Path("/sys/bus/pci/devices")
NODES = Path("/sys/devices/system/node")


def numa_node(pci_address: str, devices: Path = PCI_DEVICES) -> int | None:
    """Return the NUMA node that a PCI device is attached to; None if the system reports none.

    Args:
        pci_address: The address as sysfs writes it, such as "0000:18:00.0".
        devices: The folder of sysfs with the PCI devices.
    """
    try:
        node = int((devices / pci_address.lower() / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def node_cpus(node: int, nodes: Path = NODES) -> frozenset[int]:
    """Return the CPUs of a NUMA node; none if the system does not report them.

    Args:
        node: The number of the node.
        nodes: The folder of sysfs with the nodes.
    """
    try:
        return parse_cpu_list((nodes / f"node{node}" / "cpulist").read_text())
    except (OSError, ValueError):
        return frozenset()


def parse_cpu_list(text: str) -> frozenset[int]:
    """Return the CPUs of a list in the kernel's form, such as "0-3,64-67". Raises ValueError for any other text."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)
