"""Measure how a suite gets faster with more hosts elsewhere, and what the links carry.

    python benchmarks/fleet.py [--tests 1000 --hosts 1 2 4 8 --seconds 1 --json fleet.json]

It needs root, the program `ip`, an `ssh` client and asyncssh. Each host is a network namespace of this machine with a
real SSH server, and with an engine cache and locks of its own. The backend is ONNX Runtime on the CPU, but a block of
samples sleeps for 50 ms and then runs five inferences: a sleep takes the place of the device, since a machine with few
cores cannot compute for many hosts. The measured time of each test is --seconds.

Every run has as many xdist workers as hosts. The speed-up is that of the time between the first and the last test, so
that the start of pytest and of its workers does not count. The exit status is 1 if it is below 0.9 of the number of
hosts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argument_types
import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).parents[1]
TARGET = 0.9

SLEEPING_DEVICE = '''
"""Let blocks sleep instead of computing, once the runner of ONNX Runtime is imported."""
import importlib.util, sys, time

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "pytest_trt.pipeline.host":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            measure = module.HostRunner.block
            def block(self, count):
                time.sleep(0.05)
                return measure(self, 5)
            def throughput(self, seconds):
                time.sleep(seconds)
                return 100.0
            module.HostRunner.block, module.HostRunner.throughput = block, throughput
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
'''

TEST_FILE = """
import time
import pytest

@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.trt_engine("model.onnx")
def test_cached(trt_runner, number, record_property):
    record_property("began", time.time())
    trt_runner.measure()
    record_property("ended", time.time())
"""

CONFTEST = """
import json, os, resource
import pytest
from pytest_trt.plugin.session import session_of

began, ended = [], []

def pytest_runtest_logreport(report):
    for name, value in report.user_properties if report.when == "call" else ():
        {"began": began, "ended": ended}.get(name, []).append(value)

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    config = session.config
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    worker = getattr(config, "workerinput", {}).get("workerid", "controller")
    links = [host.session().traffic for host in session_of(config).bench.elsewhere.hosts if host._session is not None]
    seconds = max(ended) - min(began) if ended else 0.0
    with open(os.environ["FLEET_RECORD"] + "." + worker, "w") as file:
        json.dump({"memory_mb": memory, "links": links, "tests": len(ended), "seconds": seconds}, file)
"""

SERVER = """
import asyncio, subprocess, sys
import asyncssh

async def run(process):
    local = await asyncio.create_subprocess_shell(
        process.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    await process.redirect(stdin=local.stdin, stdout=local.stdout, stderr=local.stderr)
    process.exit(await local.wait())

async def main(address, key):
    await asyncssh.listen(address, 22, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
                          authorized_client_keys=key, process_factory=run, encoding=None)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@contextlib.contextmanager
def fleet(folder: Path, count: int) -> Iterator[Path]:
    """Make network namespaces with SSH servers, and yield the configuration with which `ssh perf-0` reaches one."""
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(folder / "key")
    (folder / "key").chmod(0o600)
    key.write_public_key(folder / "key.pub")
    config = folder / "ssh_config"
    everywhere = (
        f"Host *\n  User ci\n  IdentityFile {folder / 'key'}\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n"
        "  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
    )
    with contextlib.ExitStack() as stack:
        addresses = [_start_host(stack, folder, number) for number in range(count)]
        own = (f"Host perf-{number}\n  HostName {address}\n" for number, address in enumerate(addresses))
        config.write_text("".join((*own, everywhere)))
        yield config


def _start_host(stack: contextlib.ExitStack, folder: Path, number: int) -> str:
    """Make one namespace with its server, and return its address."""
    space, here, there = f"trt-perf-{number}", f"trtp{number}a", f"trtp{number}b"
    address = f"10.213.{number}.2"
    commands = (
        f"ip netns add {space}",
        f"ip link add {here} type veth peer name {there} netns {space}",
        f"ip address add 10.213.{number}.1/30 dev {here}",
        f"ip link set {here} up",
        f"ip -n {space} address add {address}/30 dev {there}",
        f"ip -n {space} link set {there} up",
        f"ip -n {space} link set lo up",
    )
    stack.callback(subprocess.run, ["ip", "netns", "delete", space], check=False)
    for command in commands:
        subprocess.run(command.split(), check=True)
    own = folder / f"host-{number}"
    own.mkdir()
    environment = {
        **os.environ, "TMPDIR": str(own), "XDG_CACHE_HOME": str(own / "cache"), "PYTHONPATH": str(folder / "device"),
    }  # fmt: skip
    command = ["ip", "netns", "exec", space, sys.executable, "-c", SERVER, address, str(folder / "key.pub")]
    process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return address


def run(folder: Path, config: Path, hosts: int, seconds: float) -> dict[str, Any]:
    """Run the suite on so many hosts, and return its time, its traffic and its memory."""
    record = folder / f"record-{hosts}"
    addresses = [f"--trt-host=ssh://perf-{n}?python={sys.executable}&config={config}" for n in range(hosts)]
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(hosts), f"--trt-min-time={seconds}",
        f"--trt-max-time={seconds}", *addresses,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLEET_RECORD": str(record)}
    process = subprocess.run(command, cwd=folder / "project", env=environment, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stdout[-4000:]}\n{process.stderr[-2000:]}")
    found = {path.suffix[1:]: json.loads(path.read_text()) for path in folder.glob(f"{record.name}.*")}
    controller, workers = found.pop("controller"), list(found.values())
    messages, nbytes = (sum(link[part] for worker in workers for link in worker["links"]) for part in (0, 1))
    tests = controller["tests"]
    return {
        "hosts": hosts, "tests": tests, "seconds": controller["seconds"], "messages": messages / tests,
        "kilobytes": nbytes / tests / 1e3, "controller_mb": controller["memory_mb"],
        "worker_mb": statistics.median(worker["memory_mb"] for worker in workers),
    }  # fmt: skip


def main() -> int:
    """Run the suite on each number of hosts, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=argument_types.count, default=1000, help="number of tests (default: 1000)")
    parser.add_argument("--hosts", type=argument_types.count, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=argument_types.time, default=1.0, help="measured time of a test (default: 1)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="pytest-trt-fleet-") as name:
        folder = Path(name)
        (folder / "device").mkdir()
        (folder / "device/sitecustomize.py").write_text(SLEEPING_DEVICE)
        project = folder / "project"
        project.mkdir()
        (project / "test_cached.py").write_text(TEST_FILE.format(tests=given.tests))
        (project / "conftest.py").write_text(CONFTEST)
        (project / "pytest.ini").write_text("[pytest]\ntrt_backend = onnxruntime\ntrt_baseline = off\n")
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy")
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
        opset = helper.make_opsetid("", 17)
        onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(project / "model.onnx"))
        print(
            f"a sleep of 50 ms a block takes the place of the device; {os.cpu_count()} cores for all hosts and workers"
        )
        with fleet(folder, max(given.hosts)) as config:
            for hosts in given.hosts:
                rows.append(run(folder, config, hosts, given.seconds))
                row = {**rows[-1], "speedup": rows[0]["seconds"] / rows[-1]["seconds"] * rows[0]["hosts"]}
                rows[-1] = row
                print("{hosts} hosts: {tests} tests in {seconds:.1f} s, {speedup:.2f} times one host; {messages:.0f} "
                      "messages and {kilobytes:.1f} kB a test; memory {controller_mb:.0f} MB, {worker_mb:.0f} MB a "
                      "worker".format(**row), flush=True)  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return 1 if any(row["speedup"] < TARGET * row["hosts"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
