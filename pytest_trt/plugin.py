"""The hooks, and nothing else."""
