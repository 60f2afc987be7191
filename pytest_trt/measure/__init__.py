"""From a plan to figures: probes, sampling, stopping."""
