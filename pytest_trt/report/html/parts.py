"""The files of the pages, the templates, and the hashes that let a page contain them."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_trt.core.foreign_text import escape_lines

if TYPE_CHECKING:
    import jinja2


def fill(template: str, **values: Any) -> str:
    """Return a page: a template of Jinja2, filled with values, which it escapes."""
    page: str = _environment().get_template(template).render(values)
    return page


@functools.cache
def _environment() -> jinja2.Environment:
    """Return the environment of all templates. It keeps them compiled, which takes longer than to fill one."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_trt.report.html", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["safe_text"] = escape_lines
    return environment


def hash_of(text: str) -> str:
    """Return the hash of a style or script as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def script_json(value: Any) -> str:
    """Return JSON that can be inside a script element: it cannot end the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


@functools.cache
def plotly_script() -> str:
    """Return Plotly's script, which its Python package contains."""
    return (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


@functools.cache
def plotly_style_ids() -> Sequence[str]:
    """Return the ids of style elements that Plotly's script adds if a page has none with these ids.

    They are for its maps, which are not used, and a content security policy refuses them. An empty element with the id
    prevents that.
    """
    return re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly_script())


def page_files(*names: str) -> str:
    """Return the texts of several files of the pages, one after another."""
    return "".join(map(page_file, names))


def page_file(name: str) -> str:
    """Return the text of a file of the pages."""
    return (importlib.resources.files("pytest_trt.report.html") / "page" / name).read_text(encoding="utf-8")
