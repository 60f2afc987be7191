"""The pages of the documentation, and their tables, code blocks and commands."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "example_project"
PAGES = (
    ROOT / "README.md",
    *sorted(p for p in DOCS.rglob("*.md") if not {"results", "_build"} & set(p.relative_to(DOCS).parts)),
    EXAMPLE / "README.md",
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: The page that contains it.
        language: The language of the fence.
        code: The content.
        requires: What it needs beyond ONNX Runtime on a CPU, as the comment `<!-- requires ... -->` before it says.
    """

    page: Path
    language: str
    code: str
    requires: str


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[Block]:
    """Return the page's blocks of a language, also those that are indented because they belong to a list item."""
    pattern = r"(?:<!-- requires ([^>]*) -->\n\n)?^( *)```(\w+)\n(.*?)^\2```"
    found = re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)
    texts = (
        (requires, kind, re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)) for requires, indent, kind, code in found
    )
    return [Block(page, kind, code, requires) for requires, kind, code in texts if kind == language]


def prose(page: Path) -> str:
    """Return the text of a page without its blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each command in a shell script, without comments. A command may extend over several lines."""
    text = ""
    for line in script.splitlines():
        text += line
        if text.endswith("\\"):
            text = text[:-1]
            continue
        try:
            words = shlex.split(re.sub(r"(^|\s)# .*", "", text))
        except ValueError:  # a quotation that is still open
            text += "\n"
            continue
        text = ""
        yield from _separated(words)
    assert not text, f"unfinished command: {text}"


def _separated(words: list[str]) -> Iterator[list[str]]:
    while "&&" in words:
        end = words.index("&&")
        yield words[:end]
        words = words[end + 1 :]
    if words:
        yield words


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row of every table."""
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            yield [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def names(text: str) -> list[str]:
    """Return the texts in backticks."""
    return re.findall(r"`([^`]*)`", text)


def section(page: str, heading: str) -> str:
    """Return the text of a section, with its subsections."""
    found = re.search(rf"^(##+) {heading}\n(.*?)(?=^##? |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading}"
    return found[2]
