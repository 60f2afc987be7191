"""Which stored tests are certainly gone, by what a collection found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pytest_trt.spec.case_ids import current_node_id


@dataclasses.dataclass(frozen=True)
class KnownTests:
    """A frozen record of a collection.

    Attributes:
        node_ids: The tests that may have a baseline, deselected ones included.
        files: The files whose tests are all among them, relative to the rootdir.
        rootdir: The folder that node ids start from.
        whole: Whether the whole suite was collected.
    """

    node_ids: frozenset[str]
    files: frozenset[str]
    rootdir: Path
    whole: bool = False

    def is_gone(self, node_id: str) -> bool:
        """Return whether a test that has a baseline certainly no longer exists.

        It may exist if its file does, and was not collected in full: ignored, skipped as a whole, or not requested.
        """
        file = node_id.partition("::")[0]
        exists = node_id in self.node_ids or current_node_id(node_id) in self.node_ids
        return not exists and (file in self.files or not (self.rootdir / file).exists())
