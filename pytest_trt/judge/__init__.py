"""Turns figures into verdicts: budgets, baselines, comparisons, blame. Pure: needs no GPU and no pytest."""
