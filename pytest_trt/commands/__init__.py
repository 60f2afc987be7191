"""The commands of `pytest-trt`. Each room has `add`, which declares its arguments, and sets what runs it."""
