"""Test how profiles of ONNX Runtime are read."""

from __future__ import annotations

from pytest_trt.engine.backends.onnxruntime_profile import parse_profile


def event(name: str, dur: int, provider: str) -> dict[str, object]:
    arguments = {"op_name": "Conv", "provider": provider, "output_type_shape": [{"float16": [1, 8]}]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": dur, "args": arguments}


def test_layers_have_medians_without_the_first_run_and_the_provider_on_request():
    events = [event("a", dur, "CUDAExecutionProvider") for dur in (900, 100, 300, 200)]
    (layer,) = parse_profile([*events, {"cat": "Session", "name": "model_run"}], with_provider=True)
    assert (layer.name, layer.ms, layer.kind, layer.precision) == ("a", 0.2, "Conv", "float16")
    assert layer.tactic == "CUDAExecutionProvider"
    assert parse_profile(events)[0].tactic == ""
