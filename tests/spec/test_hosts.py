"""Test the addresses of hosts elsewhere."""

from __future__ import annotations

import json

import pytest

from pytest_trt.errors import DeclarationError
from pytest_trt.spec.hosts import HostAddress, parse_host

SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("ssh://gpu01", HostAddress("gpu01", (*SSH, "gpu01", "python3"), quotes=True)),
        (
            "ssh://ci@gpu01:2222?python=/opt/my venv/bin/python&cache=/scratch",
            HostAddress(
                "gpu01:2222",
                (*SSH, "-p", "2222", "ci@gpu01", "'/opt/my venv/bin/python'"),
                quotes=True,
                cache="/scratch",
            ),
        ),
        ("ssh://gpu01?config=ssh_config", HostAddress("gpu01", (*SSH, "-F", "ssh_config", "gpu01", "python3"), True)),
        (
            "exec: srun --gres=gpu:1 'my python'",
            HostAddress("srun --gres=gpu:1 'my python'", ("srun", "--gres=gpu:1", "my python"), start_s=600.0),
        ),
        (
            "exec:/usr/bin/ssh a python",
            HostAddress("/usr/bin/ssh a python", ("/usr/bin/ssh", "a", "python"), True, start_s=600.0),
        ),
    ],
)
def test_an_address_names_a_host_and_a_command(value, address):
    assert parse_host(value, "--trt-host") == address


def test_arguments_are_quoted_if_a_shell_there_splits_them():
    assert parse_host("exec:docker exec -i trt python", "").with_arguments("-c", "a;b") == [
        "docker", "exec", "-i", "trt", "python", "-c", "a;b",
    ]  # fmt: skip
    assert parse_host("ssh://gpu01", "").with_arguments("-c", "a;b")[-2:] == ["-c", "'a;b'"]


def test_ray_is_a_command_that_leases_a_card():
    for value, options in (
        ("ray", {"address": "auto", "num_gpus": 1.0}),
        ("ray://head:10001?accelerator_type=H100&num_gpus=0.5", {
            "address": "ray://head:10001", "num_gpus": 0.5, "accelerator_type": "H100",
        }),
    ):  # fmt: skip
        address = parse_host(value, "--trt-host")
        assert address.name == value
        assert address.is_lease
        assert json.loads(address.command[-1]) == options


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("gpu01", "--trt-host is 'gpu01': give ssh://gpu01?python="),
        ("exec:", "--trt-host is 'exec:': give ssh://"),
        ("exec:a 'b", "its quotes do not match"),
        ("ssh://", "which names no host"),
        ("ssh://-oProxyCommand=x", "which names no host"),
        ("ssh://-x@gpu01", "which names no host"),
        ("ssh://gpu01:99999", "which is no address"),
        ("ssh://ci:secret@gpu01", "has only a user, a host, a port and a query"),
        ("ssh://gpu01/path", "has only a user, a host, a port and a query"),
        ("ssh://gpu01?pythn=x", "--trt-host names 'pythn': did you mean 'python'"),
        ("ssh://gpu01?python=", "python is empty"),
        ("ray?num_gpus=some", "num_gpus is 'some': give a number"),
        ("ray?accelerator=H100", "--trt-host names 'accelerator': did you mean 'accelerator_type'"),
        ("rays", "give ssh://"),
    ],
)
def test_a_wrong_address_is_a_usage_error(value, message):
    with pytest.raises(DeclarationError, match=message.replace("?", r"\?")):
        parse_host(value, "--trt-host")
