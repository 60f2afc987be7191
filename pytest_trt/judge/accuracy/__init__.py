"""Judge whether the outputs of an engine agree with a reference."""
