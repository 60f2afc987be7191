"""Judge whether an engine is slower or larger than its baseline, and find the layers that explain it."""
