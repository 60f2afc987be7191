"""The engine cache: plans on disk, found by what they were built from."""
