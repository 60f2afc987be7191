"""The backend for ONNX Runtime's execution providers on a GPU: CUDA, and TensorRT."""
