"""Takes samples until they say enough: block sources, the sampler, stopping rules, estimates, the GPU's state."""
