"""A probe: a fresh process that holds one engine, and the two ends of the connection to it."""
