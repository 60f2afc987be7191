"""The version of pytest-trt."""

__version__ = "0.1.0"
