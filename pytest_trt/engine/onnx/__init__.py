"""Read ONNX models and rewrite their graphs."""
