"""Measure the figures of a plan: probes, sampling and stopping rules."""
