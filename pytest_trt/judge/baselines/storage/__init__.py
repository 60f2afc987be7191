"""Storages of baselines: a local folder, an fsspec URL, and a git revision."""
