"""The sizes of a pipeline and of a run."""

from __future__ import annotations

import pytest

from pytest_trt.errors import DeclarationError
from pytest_trt.spec.declaration import PipelineOptions, RunShape


def test_pipeline_and_run_shape_check_their_sizes():
    with pytest.raises(DeclarationError, match="contexts is 0"):
        PipelineOptions(contexts=0)
    with pytest.raises(DeclarationError, match="depth must be of type int, not 'deep'"):
        PipelineOptions(depth="deep")  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="batch=-1: a size must be at least 0"):
        RunShape(batch=-1)
    with pytest.raises(DeclarationError, match="P=-1: a size must be at least 0"):
        RunShape(dims={"P": -1})
    assert RunShape(batch=0, dims={"P": 0}).dims == {"P": 0}


def test_copies_are_exposed_only_where_there_are_some_and_nothing_runs_beside_them():
    with pytest.raises(DeclarationError, match="expose_dma=True and transfers=False contradict each other"):
        PipelineOptions(expose_dma=True, transfers=False)
    with pytest.raises(DeclarationError, match="expose_dma=True and contexts=2 contradict each other"):
        PipelineOptions(expose_dma=True, contexts=2)
    assert PipelineOptions(expose_dma=True, depth=3).transfers
