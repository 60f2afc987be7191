"""From a spec to a plan: find the model, convert it, build the engine, keep it in the cache."""
