"""What builds and runs engines: one module or package for each backend."""
