"""Sample models, records, reports and servers that several tests share."""

from pathlib import Path

TESTS_FOLDER = Path(__file__).parents[1]
"""The folder of the tests. Processes that tests start import `samples` with it on their path."""

ROOT = TESTS_FOLDER.parent
"""The project's root."""
