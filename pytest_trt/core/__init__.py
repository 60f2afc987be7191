"""Records, figures, statistics, and helpers for git and files: the base of every other package."""
