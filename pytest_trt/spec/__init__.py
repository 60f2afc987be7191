"""What a test requests: its engine, shapes, pipeline and limits, and the settings of the run."""
