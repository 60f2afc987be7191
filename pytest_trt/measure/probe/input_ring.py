"""Sets of input arrays in shared memory that a caller fills in place, and outputs that are views of shared memory.

    for arrays, frame in zip(ring, frames):
        arrays["input"][...] = frame
        yield arrays  # to a stream, whose outputs are then views

A set and its outputs are used again after all other sets. If anything still refers to them then, that is an error: the
caller would read the outputs of a later query, or change its inputs. numpy arrays, and what is made of them without a
copy (slices, tensors, memory views), keep their memory's owner alive, so a weak reference to it shows whether there are
any.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_trt.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays


class _Loan:
    """Arrays over shared memory that are lent to the caller.

    Attributes:
        arrays: The arrays, by name. Drop them to let `is_held` tell what the caller holds.
    """

    def __init__(self, shared: Arrays) -> None:
        import numpy as np

        self.arrays: dict[str, NDArray[Any]] = {}
        self._owners: list[weakref.ref[NDArray[np.uint8]]] = []
        for name, array in shared.items():
            # numpy makes the owner the base of every array that is derived from it, since its own base is no array.
            owner = np.frombuffer(array.reshape(-1).view(np.uint8).data, np.uint8)
            self.arrays[name] = owner.view(array.dtype).reshape(array.shape)
            self._owners.append(weakref.ref(owner))

    def is_held(self) -> bool:
        """Return whether anything still refers to the memory of the arrays."""
        if not self._has_owners():
            return False
        gc.collect()  # an exception that was handled may be in a cycle with the arrays of its frames
        return self._has_owners()

    def _has_owners(self) -> bool:
        return any(owner() is not None for owner in self._owners)


class InputSet(Mapping[str, "NDArray[Any]"]):
    """The input arrays of one query, by name, to be filled in place. Assigning to an item fills its array.

    While the query is in flight, its arrays are read-only.
    """

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        loan = _Loan(slot.shared)
        self._arrays = loan.arrays
        slot.inputs = loan
        loan.arrays = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __setitem__(self, name: str, value: Any) -> None:
        import numpy as np

        array = self._arrays[name]
        if np.shape(value) != array.shape:
            raise InputError(f"input {name!r} has the shape {array.shape}, and cannot hold one of {np.shape(value)}")
        array[...] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def set_writeable(self, *, writeable: bool) -> None:
        """Let the caller change the arrays, or make them read-only."""
        for array in self._arrays.values():
            array.flags.writeable = writeable


class Slot:
    """One set of the ring.

    Attributes:
        number: The number of its exchanges.
        shared: Its inputs in shared memory, as the channel sends them without a copy.
        inputs: The inputs that were lent last.
        outputs: The outputs that were lent last.
        in_flight: The set that is in flight; None if none is.
    """

    def __init__(self, ring: InputRing, number: int, shared: dict[str, NDArray[Any]]) -> None:
        self.ring, self.number, self.shared = ring, number, shared
        self.inputs: _Loan | None = None
        self.outputs: _Loan | None = None
        self.in_flight: InputSet | None = None

    def begin(self, inputs: InputSet) -> None:
        """Prepare to send the set: its outputs will be overwritten.

        Raises:
            InputError: The set is in flight already, or its last outputs are still in use.
        """
        if self.in_flight is not None:
            raise InputError("this set of inputs is in flight already: take the next one of trt_runner.inputs(n)")
        if self.outputs is not None and self.outputs.is_held():
            raise InputError(
                f"the outputs of an earlier query are still in use, and their memory is to be used again: copy what is "
                f"kept (numpy.copy), or take more than trt_runner.inputs({self.ring.kept})"
            )
        inputs.set_writeable(writeable=False)
        self.in_flight = inputs

    def end(self, outputs: Arrays | None) -> Arrays:
        """Lend the outputs, if the query succeeded, and let the caller fill the set again."""
        done, self.in_flight = self.in_flight, None
        if done is not None:
            done.set_writeable(writeable=True)
        if outputs is None:
            return {}
        loan = self.outputs = _Loan(outputs)
        arrays, loan.arrays = loan.arrays, {}
        return arrays


class InputRing(Iterator[InputSet]):
    """An endless iterator over sets of input arrays.

    Args:
        slots: For each set, the number of its exchanges and its arrays in shared memory.
        kept: How many outputs stay valid at a time.

    Attributes:
        slots: The sets, in turn.
    """

    def __init__(self, slots: Sequence[tuple[int, dict[str, NDArray[Any]]]], kept: int) -> None:
        self.kept = kept
        self.slots = [Slot(self, number, shared) for number, shared in slots]
        self._turn = 0

    def __next__(self) -> InputSet:
        """Return the next set; its arrays contain what was last written to them.

        Raises:
            InputError: The set is in flight, or still in use from the last time.
        """
        slot = self.slots[self._turn % len(self.slots)]
        if slot.in_flight is not None:
            raise InputError(
                f"all {len(self.slots)} sets of inputs are in flight: send one to trt_runner.stream at a time"
            )
        if slot.inputs is not None and slot.inputs.is_held():
            raise InputError(
                "the arrays of an earlier set of inputs are still in use, and are to be filled again: drop them once "
                f"they were sent, or take more than trt_runner.inputs({self.kept})"
            )
        self._turn += 1
        return InputSet(slot)

    def __len__(self) -> int:
        """Return the number of sets."""
        return len(self.slots)

    def abandon(self) -> None:
        """End the queries in flight, whose outputs never arrive."""
        for slot in self.slots:
            slot.end(None)
