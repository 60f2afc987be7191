"""Find the tests that a command's argument names: by their id, by a pattern, or by any unique part of the id."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from pytest_trt.core.node_patterns import matches
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.case_ids import current_node_id

HELP = "a node id or any unique part of it, or a pattern with * and ?"
"""The help of an argument that names a test."""

_MOST_LISTED = 4


def choose_tests(test: str, node_ids: Iterable[str], message: str, otherwise: str) -> frozenset[str]:
    """Return the node ids that `test` names.

    An id or a pattern comes first, then the name of a test without its file, then a part of one id. An id that an
    earlier version gave a test (`spec.case_ids`) names it too.

    Args:
        test: The argument.
        node_ids: The ids of all tests.
        message: The beginning of the error if no test matches.
        otherwise: The remedy if none is similar either.

    Raises:
        DeclarationError: `test` names no test, or is a part of the ids of several tests.
    """
    known = list(dict.fromkeys(node_ids))
    for found in _interpretations(test, known):
        if len(found) == 1 or (found and {"*", "?"} & set(test)):
            return frozenset(found)
        if found:
            more = f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
            listed = ", ".join(found[:_MOST_LISTED])
            raise DeclarationError(
                f"{test!r} is a part of {len(found)} tests: {listed}{more}: give more of the id, or '*{test}*' for all"
            )
    raise DeclarationError(f"{message} {test!r}: {suggest_test(test, known, otherwise)}")


def _interpretations(test: str, node_ids: list[str]) -> Iterator[list[str]]:
    current = current_node_id(test)
    for text in dict.fromkeys((test, current)):
        yield [node_id for node_id in node_ids if matches(text, node_id) or matches(text, current_node_id(node_id))]
    if not {"*", "?"} & set(test):
        yield [node_id for node_id in node_ids if node_id.endswith(f"::{current}")]
        yield [node_id for node_id in node_ids if test and test in node_id]
        yield [node_id for node_id in node_ids if test and test.casefold() in node_id.casefold()]


def suggest_test(test: str, node_ids: Iterable[str], otherwise: str) -> str:
    """Return a question that suggests the tests with the most similar id or name, or `otherwise` if none is similar."""
    parts: dict[str, str] = {}
    for node_id in node_ids:
        name = node_id.rpartition("::")[2]
        for part in (node_id, name, name.partition("[")[0], name.partition("[")[0].removeprefix("test_")):
            parts.setdefault(part, node_id)
    near = dict.fromkeys(parts[part] for part in difflib.get_close_matches(test, parts, 3, 0.6))
    return f"did you mean {' or '.join(map(repr, near))}?" if near else otherwise
