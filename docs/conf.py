"""Configuration of the documentation: `make docs` builds it into docs/_build."""

from pytest_trt import __version__

project = "pytest-trt"
author = "The pytest-trt developers"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "description"

html_theme = "furo"
html_title = f"pytest-trt {__version__}"
html_theme_options = {
    "source_repository": "https://github.com/pytest-trt/pytest-trt/",
    "source_branch": "main",
    "source_directory": "docs/",
}
