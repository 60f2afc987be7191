"""Store a baseline's outputs as a hash and a bounded sample, and compare outputs with them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.core.records import Verdict
from pytest_trt.core.scalars import short_repr
from pytest_trt.core.stored_output import StoredOutput
from pytest_trt.errors import BaselineError
from pytest_trt.judge.accuracy.allowed_error import AccuracyLimits
from pytest_trt.judge.accuracy.difference import compare
from pytest_trt.judge.accuracy.verdicts import empty_reference, judge_difference, shape_mismatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.judge.accuracy.norms import Array, Arrays

SAMPLE = 1024
"""How many elements of an output are stored, evenly spread over it."""


_MAX_RANK = 64
"""The most dimensions of an array in NumPy."""


def store(outputs: Arrays) -> Mapping[str, StoredOutput]:
    """Return the records that a baseline stores for these outputs, by name."""
    return {
        name: StoredOutput(
            dtype=array.dtype.name,
            shape=tuple(array.shape),
            sha256=_sha256(array),
            values=base64.b64encode(_sample(array).astype(_sample_type(array.dtype.name)).tobytes()).decode(),
        )
        for name, array in outputs.items()
    }


def judge(
    outputs: Arrays, stored: Mapping[str, StoredOutput], limits: AccuracyLimits, source: str
) -> tuple[Verdict, ...]:
    """Return a verdict for each stored output, as `verdicts.judge` does for whole ones.

    Args:
        outputs: The outputs by name.
        stored: What `store` returned for the baseline's outputs.
        limits: The error that is allowed.
        source: What the baseline is called, as text.

    Raises:
        BaselineError: A stored output is not valid; the error names it.
    """
    for name, record in stored.items():
        if len(record.shape) > _MAX_RANK or min(record.shape, default=0) < 0:
            raise BaselineError(f"the stored output {name!r} has the shape {short_repr(record.shape)}: save it again")
    if (
        fault := empty_reference({name: math.prod(record.shape) for name, record in stored.items()}, source)
    ) is not None:
        return (fault,)
    return tuple(
        shape_mismatch(name, outputs, record.shape, source) or _judge(name, outputs[name], record, limits, source)
        for name, record in stored.items()
    )


def _judge(name: str, output: Array, record: StoredOutput, limits: AccuracyLimits, source: str) -> Verdict:
    import numpy as np

    expected = _values(name, record)
    if _sha256(output) == record.sha256 and output.dtype.name == record.dtype:
        return Verdict("ok", "accuracy", name, f"output {name!r} is the same as {source}'s bit for bit")
    limits = limits.for_kind("b" if record.dtype == "bool" else expected.dtype.kind)
    found, indices = compare(_sample(output), expected, limits), _sample_indices(output.size)
    worst = tuple(
        (tuple(map(int, np.unravel_index(indices[at], record.shape))), got, there) for (at,), got, there in found.worst
    )
    found = dataclasses.replace(found, worst=worst, top1=None, top5=None)  # a sample has no rows
    judged = judge_difference(name, found, limits, source)
    return dataclasses.replace(judged, details=(*judged.details, f"compared {expected.size} of {output.size} elements"))


def _sample_indices(size: int) -> NDArray[Any]:
    """Return the flat indices of the sample of an output of this size."""
    import numpy as np

    count = min(size, SAMPLE)
    return np.arange(count, dtype=np.int64) * size // max(count, 1)


def _sample(array: Array) -> Array:
    sample: Array = array.reshape(-1)[_sample_indices(array.size)]
    return sample


def _sha256(array: Array) -> str:
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _sample_type(dtype: str) -> str:
    """Return the dtype in which a sample is stored: the one in which its elements are compared."""
    return "<i8" if dtype.startswith(("int", "uint")) else "<f8"


def _values(name: str, record: StoredOutput) -> Array:
    """Return the stored sample as an array. The stored values are checked as untrusted input."""
    import numpy as np

    size = math.prod(record.shape)
    try:
        values = np.frombuffer(base64.b64decode(record.values, validate=True), _sample_type(record.dtype))
    except ValueError as error:
        raise BaselineError(f"the stored output {name!r} cannot be decoded ({error}): save it again") from error
    if values.size != min(size, SAMPLE):
        raise BaselineError(
            f"the stored output {name!r} has {values.size} values for the shape {record.shape}: save it again"
        )
    return values
