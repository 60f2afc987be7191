"""Test the inputs and references of `trt_accuracy`."""

from __future__ import annotations

import gzip
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from pytest_trt.engine.model.model import read_model
from pytest_trt.errors import InputError
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.reference_outputs import accuracy_inputs, reference_outputs


def test_reference_widens_integers_to_those_of_the_model(tmp_path: Path) -> None:
    """TensorRT before 10 has no 64-bit integers, so its inputs are int32."""
    table = numpy_helper.from_array(np.arange(8, dtype=np.float32), "table")
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph([helper.make_node("Gather", ["table", "ids"], ["y"])], "g", [ids], [y], [table])
    path = tmp_path / "m.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    inputs = {"ids": np.array([3, 1], np.int32)}
    with Bench(Settings(backend="onnxruntime")) as bench:
        outputs = reference_outputs("onnxruntime", inputs, read_model(path), {"ids": (2,)}, [tmp_path], bench)
    assert outputs["y"].tolist() == [3.0, 1.0]
    assert inputs["ids"].dtype == np.int32


def broken_files(whole: bytes) -> dict[str, bytes]:
    """Return contents that are not, or no longer, an .npz file."""
    bits = bytearray(whole)
    bits[len(bits) // 3] ^= 0xFF
    return {"cut": whole[:100], "tail": whole[:-10], "bits": bytes(bits), "empty": b"", "text": b"y = 1",
            "gzip": gzip.compress(whole)}  # fmt: skip


@pytest.mark.parametrize("name", broken_files(b"x" * 300))
def test_broken_npz_file_is_named(name: str, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", y=np.random.default_rng(0).standard_normal(100))
    (tmp_path / "m.npz").write_bytes(broken_files((tmp_path / "whole.npz").read_bytes())[name])
    with pytest.raises(InputError, match=r"m.npz is no .npz file of arrays \(.+\): write it with numpy.savez"):
        accuracy_inputs("m.npz", [tmp_path])


def test_npy_file_and_zip_of_other_files_are_errors(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.ones(3))
    with pytest.raises(InputError, match=r"m.npy is no .npz file of arrays \(it holds one array without a name\)"):
        accuracy_inputs("m.npy", [tmp_path])
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as file:
        file.writestr("y", "1")
    with pytest.raises(InputError, match=r"inputs has a bytes for 'y': give a numpy array"):
        accuracy_inputs("m.npz", [tmp_path])


def fails() -> None:
    raise OSError("the share is not mounted")


def gives_up() -> None:
    sys.exit("no credentials")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (gives_up, r"trt_accuracy\(inputs=gives_up\): the function raised SystemExit: no credentials"),
        (fails, r"trt_accuracy\(inputs=fails\): the function raised OSError: the share is not mounted"),
        (lambda: 3, "inputs must be a mapping of names to numpy arrays, not int"),
        (lambda: {"y": [1.0]}, "inputs has a list for 'y': give a numpy array"),
        (lambda: {"y": np.array(["a"])}, "inputs has an array of str32 for 'y': give real numbers"),
        (lambda: {"y": np.array([1, None])}, "inputs has an array of object for 'y': give real numbers"),
        (lambda: {"y": np.array([1j])}, "inputs has an array of complex128 for 'y': give real numbers"),
        (dict, "inputs holds no array"),
        (lambda: {"y": np.array([1, np.nan, 2])}, "input 'y' holds 1 NaN of 3 values: give numbers"),
    ],
)
def test_function_that_returns_no_arrays_is_an_error(function: Callable[[], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        accuracy_inputs(function, [tmp_path])


def test_small_file_that_unpacks_to_gigabytes_is_an_error(tmp_path: Path) -> None:
    """300 kB of zip. The array has the size that its own header says."""
    with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED) as file, file.open("y.npy", "w") as array:
        for _ in range(300):
            array.write(bytes(1_000_000))
    assert (tmp_path / "m.npz").stat().st_size < 1_000_000
    with pytest.raises(InputError, match=r"m.npz unpacks to 300000000 bytes, more than 100 times its size: write it"):
        accuracy_inputs("m.npz", [tmp_path])
