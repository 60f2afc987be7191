"""Where baselines are kept: a folder, an fsspec URL, a git revision."""
