"""Test readable messages of ONNX Runtime."""

from __future__ import annotations

from pytest_trt.engine.onnx.messages import readable_message


def test_failing_node_is_named_without_status_codes() -> None:
    status = "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status code returned while running Gather node. "
    reason = "indices element out of data bounds, idx=9 must be within the inclusive range [-8,7]"
    named = RuntimeError(f"{status}Name:'/emb/Gather' Status Message: {reason}")
    assert readable_message(named) == f"Gather /emb/Gather: {reason}"
    unnamed = RuntimeError(f"{status}Name:'' Status Message: {reason}")
    assert readable_message(unnamed) == f"Gather: {reason}"


def test_error_without_a_message_is_named_by_its_type() -> None:
    assert readable_message(ValueError()) == "ValueError"
