"""Test why a test that names its device cannot run."""

from __future__ import annotations

import pytest

from pytest_trt.core.records import Environment
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.hosts import parse_host
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.missing_device import missing_device


@pytest.mark.parametrize(
    ("address", "remedy"), [("ray", "add a host such as --trt-host=ray?"), ("ssh://a", "see --trt")]
)
def test_a_kind_that_no_host_has_is_named_with_the_remedy(address: str, remedy: str) -> None:
    with Bench(Settings(backend="tensorrt", hosts=(parse_host(address, "--trt-host"),))) as bench:
        (host,) = bench.elsewhere.hosts
        host.learn({"facts": {"visible_devices": None, "sees_gpu": True}, "packages": {}, "listed": {}})
        host.listed["tensorrt"] = (Environment("NVIDIA L4", "gpu", "tensorrt", "10.8", host_name=host.name),)
        declared = [Declaration(spec=EngineSpec(path="m.onnx", device=words)) for words in ("L4", "H200")]
        found, missing = (missing_device(bench, declaration) for declaration in declared)
    assert found == ""
    assert missing.startswith(f"no device of this run is 'H200': there is NVIDIA L4 ({remedy}")
