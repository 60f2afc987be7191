"""A browser for the pages of reports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright
from samples.browser import Watched


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium, one for each worker. CI always has one: `.ci/run` installs it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium: apt-get install chromium")
    assert chromium is not None, "there is no Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root, as in a container.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """Pages that must have no error, no dialog, and no request but for files, at the end."""
    watched = Watched(browser)
    yield watched
    watched.close()
    assert (watched.troubles, watched.elsewhere) == ([], [])
