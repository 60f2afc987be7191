"""Test the backend of PyTorch, if torch is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_trt.engine.backends import pytorch
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError
from pytest_trt.spec.engine_spec import EngineSpec


class TestPyTorch:
    """The backend with a real torch, if it is installed."""

    @pytest.fixture
    def plan(self, tmp_path: Path) -> Path:
        (tmp_path / "net_of_test.py").write_text(
            "import torch\n"
            "def doubles():\n    class M(torch.nn.Module):\n"
            "        def forward(self, x, y): return x * 2, {'s': y}['s'] + 1\n    return M()\n"
            "def raises(): raise ValueError('no weights')\n"
            "def number(): return 3\n"
        )
        return tmp_path

    def load(self, folder: Path, name: str, outputs: tuple[str, ...] = ("a", "b"), **options):
        torch = pytest.importorskip("torch", reason="needs torch")
        inputs = (Tensor("x", "float32", (-1, 2)), Tensor("y", "int64", (-1,)))
        path = folder / "plan"
        pytorch.write_plan(
            path, f"net_of_test:{name}", folder, inputs, tuple(Tensor(n, "float32", (-1,)) for n in outputs), **options
        )
        assert isinstance(torch.__version__, str)
        return pytorch.open_backend("pytorch").load(path, "0", EngineSpec(threads=1))

    def test_module_runs_like_an_engine(self, plan):
        engine = self.load(plan, "doubles")
        inputs = {"x": np.ones((3, 2), np.float32), "y": np.arange(3)}
        outputs = engine.run(inputs)
        np.testing.assert_array_equal(outputs["a"], np.full((3, 2), 2, np.float32))
        np.testing.assert_array_equal(outputs["b"], [1, 2, 3])
        engine.bind_inputs(inputs)()
        engine.close()

    @pytest.mark.parametrize(
        ("name", "message"),
        [("raises", "ValueError: no weights"), ("number", "returned int"), ("nothing", "nothing")],
    )
    def test_function_that_returns_no_module_is_an_error(self, plan, name, message):
        with pytest.raises(BackendError, match=message):
            self.load(plan, name)

    def test_number_of_outputs_must_match_the_model(self, plan):
        with pytest.raises(BackendError, match="returned 2 outputs, but the model has a, b, c"):
            self.load(plan, "doubles", ("a", "b", "c")).run({"x": np.ones((1, 2), np.float32), "y": np.arange(1)})

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of the modules that compile
    def test_compiled_module_has_the_same_outputs(self, plan):
        inputs = {"x": np.ones((3, 2), np.float32), "y": np.arange(3)}
        engine = self.load(plan, "doubles", compiled=True)
        np.testing.assert_array_equal(engine.run(inputs)["a"], np.full((3, 2), 2, np.float32))
        assert engine.proof["mode"] == "torch.compile"

    def test_gpu_is_timed_only_if_there_is_one(self, plan):
        torch = pytest.importorskip("torch", reason="needs torch")
        times = self.load(plan, "doubles").device_times({"x": np.ones((3, 2), np.float32), "y": np.arange(3)}, 5)
        assert len(times) == (5 if torch.cuda.is_available() else 0)
        assert all(ms > 0 for ms in times)
