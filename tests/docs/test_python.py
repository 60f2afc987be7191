"""The Python examples of the documentation: each is run, or, if it needs a GPU, collected."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from samples.pages import PAGES, Block, blocks, page_id

BLOCKS = [block for page in PAGES for block in blocks(page, "python")]


def block_id(block: Block) -> str:
    return f"{page_id(block.page)}:{blocks(block.page, 'python').index(block)}"


def test_functions(block: Block) -> set[str]:
    return {node.name for node in ast.parse(block.code).body if getattr(node, "name", "").startswith("test_")}


test_functions.__test__ = False  # type: ignore[attr-defined]


def test_every_test_of_the_documentation_passes(documented_project: Path) -> None:
    cases = list(ET.parse(documented_project / "run.xml").iter("testcase"))
    assert all(len(list(case.iter(problem))) == 0 for case in cases for problem in ("failure", "error", "skipped")), (
        documented_project / "run.txt"
    ).read_text()
    ran = {(case.get("classname"), str(case.get("name")).partition("[")[0]) for case in cases}
    expected = [name for block in BLOCKS if not block.requires for name in test_functions(block)]
    assert sorted(name for _, name in ran) == sorted(expected)


@pytest.mark.parametrize("block", [b for b in BLOCKS if "def test_" not in b.code], ids=block_id)
def test_an_example_without_tests_can_be_run(block: Block) -> None:
    exec(compile(block.code, block_id(block), "exec"), {})


def test_the_examples_that_need_a_gpu_are_collected(pytester: pytest.Pytester) -> None:
    """Collecting a test checks its markers."""
    needing = [block for block in BLOCKS if block.requires]
    for number, block in enumerate(needing):
        pytester.makepyfile(**{f"test_example_{number}": block.code})
    result = pytester.runpytest_subprocess("--collect-only", "-q", "-p", "no:cacheprovider", "--strict-markers")
    assert result.ret == 0, result.stderr.str()
    collected = {line.partition("[")[0].rpartition("::")[2] for line in result.stdout.lines if "::" in line}
    assert collected == set().union(*map(test_functions, needing))
    assert len(needing) > 1
