"""The command `pytest-trt`: one module for each of its commands, and what they share."""
