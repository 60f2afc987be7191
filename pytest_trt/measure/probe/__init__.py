"""Probes: fresh processes with one engine each, and the connections to them."""
