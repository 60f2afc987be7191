"""The shell's way in: the command `pytest-trt`."""
