"""A headless browser that notices what a page must not do."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, Page

EVIL = """<img src=x onerror=alert(1)></script><script>alert(2)</script><a href="javascript:alert(3)">&lt;b&gt;"'${1}"""
"""A name that would run if a page did not escape it."""


class Watched:
    """Opens pages, and collects what none of them may do.

    Attributes:
        troubles: The errors in the console, the exceptions and the dialogs.
        elsewhere: The addresses that were requested, unless they are of files.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._pages: list[Page] = []
        self.troubles: list[str] = []
        self.elsewhere: list[str] = []

    def page(self, **options: Any) -> Page:
        """Return a new page, of the size of a laptop unless options say otherwise."""
        page = self._browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        self._pages.append(page)
        page.on("console", lambda message: self.troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("dialog", self._dismiss)
        page.on("request", self._check)
        return page

    def _dismiss(self, dialog: Any) -> None:
        self.troubles.append(dialog.message)
        dialog.dismiss()

    def _check(self, request: Any) -> None:
        if not request.url.startswith("file:"):
            self.elsewhere.append(request.url)

    def close(self) -> None:
        """Close all pages."""
        for page in self._pages:
            page.close()
