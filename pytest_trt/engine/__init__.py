"""Turn a spec into a plan: find the model, convert it, build the engine, and store it in the cache."""
