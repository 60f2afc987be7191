"""From figures to verdicts. Nothing here measures."""
