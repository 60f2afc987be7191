"""Convert a model to half precision, or quantise it to int8."""
