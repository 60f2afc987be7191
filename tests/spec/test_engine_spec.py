"""Options of an engine, valid and invalid."""

from __future__ import annotations

import pathlib
import re

import pytest

from pytest_trt.core import codec
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.engine_spec import EngineSpec


@pytest.mark.parametrize("written", [4, (4, 4, 4), [(4, 4, 4)]])
def test_single_size_becomes_min_opt_and_max(written):
    assert EngineSpec(path="m.onnx", dims={"N": written}).dims == {"N": ((4, 4, 4),)}


def test_several_triples_define_several_profiles():
    spec = EngineSpec(path="m.onnx", dims={"N": [(1, 1, 4), (4, 8, 32)]}, shapes={"x": (1, 3)})
    assert spec.profile_count == 2
    assert spec.shapes == {"x": (((1, 3), (1, 3), (1, 3)),)}


def test_path_suffix_marks_a_prebuilt_plan():
    assert EngineSpec(path="a/b.plan").is_prebuilt
    assert EngineSpec(path="a/b.engine").is_prebuilt
    assert not EngineSpec(path="a/b.onnx").is_prebuilt


def test_spec_survives_encoding():
    spec = EngineSpec(path="m.onnx", dims={"N": (1, 8, 32)}, precision="fp16", input_ranges={"ids": (0, 100)})
    assert codec.decode(EngineSpec, codec.encode(spec)) == spec


def test_build_options_exclude_run_options():
    assert EngineSpec(path="a.onnx", seed=1).build_options() == EngineSpec(path="b.onnx", seed=2).build_options()
    assert EngineSpec(path="a.onnx", refit=True).build_options() != EngineSpec(path="a.onnx").build_options()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": {"N": (8, 1, 32)}}, "dims['N'] is (8, 1, 32): it must be 0 <= min <= opt <= max"),
        ({"dims": {"N": (-1, 1, 2)}}, "dims['N'] is (-1, 1, 2): it must be 0 <= min <= opt <= max"),
        ({"dims": {"N": -1}}, "dims['N'] is (-1, -1, -1): it must be 0 <= min <= opt <= max"),
        ({"shapes": {"x": (-1, 3)}}, "it must be 0 <= min <= opt <= max in every dimension"),
        ({"shapes": {"x": [((1,),) * 3, ((1, 2),) * 3]}}, "every profile must have the same rank"),
        ({"dims": {"N": (1, 2)}}, "dims['N'] is (1, 2): give (min, opt, max)"),
        ({"dims": {"N": "8"}}, "dims['N'] is '8': give (min, opt, max)"),
        ({"dims": {"N": True}}, "dims['N'] is True: give (min, opt, max)"),
        ({"shapes": {"x": [(1, 3), (1, 3, 3), (1, 3)]}}, "min, opt and max must have the same rank"),
        ({"shapes": {"x": [(2, 3), (1, 3), (1, 3)]}}, "it must be 0 <= min <= opt <= max in every dimension"),
        ({"dims": {"N": [(1, 1, 1)] * 2, "S": [(1, 1, 1)] * 3}}, "define [2, 3] optimisation profiles"),
        ({"precision": "fp17"}, "precision is 'fp17': it must be one of 'fp32', 'fp16'"),
        ({"workspace_mb": "large"}, "workspace_mb must be of type int, not 'large'"),
        ({"onnx": "m.onnx", "path": None}, "onnx must be a function, not 'm.onnx'"),
        ({"onnx": print}, "path and onnx both name the model"),
        ({"input_ranges": {"ids": (5, 1)}}, "low must not be above high"),
        ({"build_timeout_s": 0}, "build_timeout_s is 0.0"),
        ({"optimization_level": 6}, "optimization_level is 6: it must be at most 5"),
        ({"threads": 10**6}, "threads is 1e+06: it must be at most 1024"),
        ({"build_timeout_s": 1e30}, "build_timeout_s is 1e+30: it must be at most 1e+07"),
        ({"shapes": 3}, "shapes must be a mapping, not 3"),
        ({"dims": "N"}, "dims must be a mapping, not 'N'"),
        ({"workspace_mb": 0}, "workspace_mb is 0: it must be at least 1"),
        ({"max_aux_streams": -1}, "max_aux_streams is -1: it must be at least 0"),
        ({"memory_pool_bytes": {"workspac": 1}}, "'workspac': it must be one of 'workspace', 'tactic_dram'"),
        ({"memory_pool_bytes": {"workspace": 0}}, "memory_pool_bytes['workspace'] is 0: it must be at least 1"),
        ({"workspace_mb": 1, "memory_pool_bytes": {"workspace": 1}}, "both limit the workspace"),
        (
            {"layer_precisions": {"conv": "fp16"}},
            "layer_precisions['conv'] is 'fp16', but precision='fp32' allows only fp32",
        ),
        ({"layer_output_types": {"*": ("fp32", "int8")}, "precision": "fp16"}, "layer_output_types['*'] is 'int8'"),
        ({"layer_precisions": {"conv": "half"}}, "it must be one of 'fp32', 'fp16'"),
        ({"precision_constraints": "prefer"}, "precision_constraints needs layer_precisions"),
        ({"strongly_typed": True, "layer_precisions": {"a": "fp32"}}, "strongly_typed=True takes every type"),
        ({"io_formats": {"x": "nchw"}}, "'nchw': it must be one of 'linear', 'chw2'"),
        ({"io_dtypes": {"x": "float16"}}, "'float16': it must be one of 'fp32', 'fp16'"),
        ({"exclude_lean_runtime": True}, "exclude_lean_runtime=True needs version_compatible=True"),
        ({"gpu_fallback": True}, "gpu_fallback=True needs dla_core"),
        ({"weight_streaming_budget": "auto"}, "weight_streaming_budget needs weight_streaming=True"),
        ({"weight_streaming": True, "weight_streaming_budget": "140%"}, "'140%': give bytes, a share of the weights"),
        ({"weight_streaming": True, "weight_streaming_budget": -1}, "weight_streaming_budget is -1: give bytes"),
        ({"timing_cache": False, "timing_cache_mode": "read_only"}, "has no effect with timing_cache=False"),
        ({"timing_cache": ""}, "timing_cache is '': name a file"),
        (
            {"path": "m.plan", "refit": True, "workspace_mb": 1},
            "a prebuilt plan, so refit, workspace_mb would have no effect",
        ),
    ],
)
def test_invalid_spec_is_rejected(arguments, message):
    with pytest.raises(DeclarationError, match=re.escape(message)):
        EngineSpec(**{"path": "m.onnx", **arguments})


def test_short_forms_are_expanded():
    spec = EngineSpec(
        path="m.onnx", plugins="lib.so", layer_output_types={"conv": "fp32"}, timing_cache=pathlib.Path("a.cache")
    )
    assert (spec.plugins, spec.layer_output_types, spec.timing_cache) == (("lib.so",), {"conv": ("fp32",)}, "a.cache")
    assert codec.decode(EngineSpec, codec.encode(spec)) == spec


def test_every_build_option_is_in_the_digest():
    changed = {
        "strongly_typed": True, "io_dtypes": {"x": "fp16"}, "io_formats": {"x": "hwc"}, "direct_io": True,
        "memory_pool_bytes": {"tactic_dram": 1}, "max_num_tactics": 1, "tiling_optimization_level": "fast",
        "l2_limit_for_tiling_bytes": 1, "tactic_sources": (), "preview_features": {"A": True}, "build_route": "-a=b",
        "layer_precisions": {"a": "fp32"}, "layer_output_types": {"a": "fp32"}, "strip_weights": True, "dla_core": 0,
        "weight_streaming": True, "version_compatible": True,
    }  # fmt: skip
    plain = EngineSpec(path="m.onnx")
    for name, value in changed.items():
        spec = EngineSpec(path="m.onnx", **{name: value})
        assert spec.build_options() != plain.build_options(), name
        # ONNX Runtime's networks are always strongly typed.
        assert (name in spec.tensorrt_only_options) is (name != "strongly_typed")
    run = EngineSpec(path="m.onnx", weight_streaming=True, weight_streaming_budget="40%", engine_host_code_allowed=True)
    assert run.build_options() == EngineSpec(path="m.onnx", weight_streaming=True).build_options()


def test_prebuilt_plan_accepts_run_options():
    spec = EngineSpec(path="m.plan", engine_host_code_allowed=True, plugins="lib.so", weight_streaming_budget=0)
    assert spec.is_prebuilt
    assert spec.host_code_allowed
    assert EngineSpec(path="m.plan", version_compatible=True, precision="fp16").host_code_allowed
    assert not EngineSpec(path="m.plan").host_code_allowed


def test_a_single_node_may_be_named_alone():
    assert EngineSpec(cpu_nodes="Det").cpu_nodes == EngineSpec(cpu_nodes=["Det"]).cpu_nodes == ("Det",)
    assert EngineSpec(cpu_nodes="Det").build_options() == EngineSpec().build_options()
