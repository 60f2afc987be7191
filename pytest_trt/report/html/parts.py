"""The files of the pages, the templates, and the hashes that let a page contain them."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from typing import Any

from pytest_trt.core.foreign_text import escape_lines


def fill(template: str, **values: Any) -> str:
    """Return a page: a template of Jinja2, filled with values, which it escapes."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_trt.report.html", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["safe_text"] = escape_lines
    page: str = environment.get_template(template).render(values)
    return page


def hash_of(text: str) -> str:
    """Return the hash of a style or script as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page_file(name: str) -> str:
    """Return the text of a file of the pages."""
    return (importlib.resources.files("pytest_trt.report.html") / "page" / name).read_text(encoding="utf-8")
