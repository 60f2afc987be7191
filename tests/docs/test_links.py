"""The links of the documentation lead somewhere, and messages that it quotes exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from samples.pages import DOCS, PAGES, ROOT, page_id, prose

REPOSITORY = "https://github.com/pytest-trt/pytest-trt/blob/main/"
IMAGES = "https://raw.githubusercontent.com/pytest-trt/pytest-trt/main/"
FOR_DEVELOPERS = tuple(ROOT / name for name in ("CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"))
FILE = re.compile(r"`([\w./-]+(?:/[\w./-]*|\.(?:py|md|toml|json|yml|yaml)))`")


def targets(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text())


def test_every_image_is_shown_on_a_page() -> None:
    shown = {Path(target).name for page in PAGES for target in targets(page)}
    assert {file.name for file in (DOCS / "images").iterdir()} <= shown


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and myst-parser make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", *sorted((DOCS / "results").glob("*.md"))], ids=page_id)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in (found.replace(IMAGES, REPOSITORY) for found in targets(page)):
        path, _, anchor = target.removeprefix(REPOSITORY).partition("#")
        if "://" in path:
            continue
        file = ROOT / path if target.startswith(REPOSITORY) else page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "example_project/README.md"], ids=page_id)
def test_links_of_a_readme_work_on_other_sites(page: Path) -> None:
    """PyPI shows the README without the files beside it."""
    assert all(target.startswith("https://") for target in targets(page))


@pytest.mark.parametrize("page", FOR_DEVELOPERS, ids=page_id)
def test_every_path_that_a_page_for_developers_names_exists(page: Path) -> None:
    paths = FILE.findall(page.read_text())
    assert len(paths) > 1
    assert [path for path in paths if not (ROOT / path).exists()] == []


@functools.cache
def messages() -> list[str]:
    """Return all text constants of the package. The expressions of an f-string are replaced by `...`."""
    found = []
    for path in (ROOT / "pytest_trt").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def quoted_messages() -> list[str]:
    """Return the messages that troubleshooting.md quotes in bold: those of several words."""
    quotes = re.findall(r"^\*\*`([^`]+)`", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    return [quote for quote in quotes if " " in quote.strip(". ")]


@pytest.mark.parametrize("quote", quoted_messages())
def test_a_message_that_troubleshooting_quotes_exists(quote: str) -> None:
    """In a quotation, `...` stands for any text."""
    pattern = ".*".join(re.escape(part) for part in quote.split("..."))
    assert any(re.search(pattern, message, re.DOTALL) for message in messages())
