"""Lines of test files that integration tests put together."""

ENGINE = "import pytest\npytestmark = pytest.mark.trt_engine('m.onnx', dims={'N': (1, 4, 8)})\n"
"""What a test file starts with: the project's model."""

MEASURES = "def test_m(trt_runner): trt_runner.measure()\n"
