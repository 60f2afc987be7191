"""What a test requests: the engine, its shapes, its pipeline, its limits, and the settings of the run."""
