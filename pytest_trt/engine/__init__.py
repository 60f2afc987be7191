"""From a spec to an engine's plan: read the model, fill its shapes, convert, find in the cache or build."""
