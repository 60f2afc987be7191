"""Configuration of the documentation: `make docs` builds it into docs/_build."""

import re

from sphinx.application import Sphinx
from sphinx.domains.python import PyObject

from pytest_trt import __version__

project = "pytest-trt"
author = "The pytest-trt developers"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"
smartquotes_action = "D"

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_attr_annotations = True
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"pytest-trt {__version__}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/pytest-trt/pytest-trt/",
    "source_branch": "main",
    "source_directory": "docs/",
}


def without_arguments(app: Sphinx, kind: str, name: str, *_: object) -> tuple[str, str] | None:
    """Show no signature of a record: the list of its attributes says the same, with explanations."""
    return ("", "") if kind == "class" else None


def with_short_types(app: Sphinx, kind: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Name the types of attributes without their modules."""
    for number, line in enumerate(lines):
        if line.startswith(":vartype"):
            lines[number] = re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", line)


def setup(app: Sphinx) -> None:
    """Connect the hooks above, and call attributes what they are."""
    app.connect("autodoc-process-signature", without_arguments)
    app.connect("autodoc-process-docstring", with_short_types, priority=900)  # after napoleon's
    next(field for field in PyObject.doc_field_types if field.name == "variable").label = "Attributes"
