"""Find out why a test that names its device cannot run in this run."""

from __future__ import annotations

from pytest_trt.spec.declaration import Declaration
from pytest_trt.trial.bench import Bench


def missing_device(bench: Bench, declaration: Declaration) -> str:
    """Return why there is no card for the test; empty if there is one, or if the test names none.

    Args:
        bench: The resources of the run.
        declaration: What the test declares.

    Raises:
        BackendError: No backend runs the test, or the backend finds no device at all.
    """
    words, settings = declaration.spec.device, bench.settings
    backend = bench.backend_name(declaration.spec)
    ahead_of_time = settings.build_only and bench.completed(declaration, backend).spec.compute_capabilities
    if words is None or ahead_of_time or bench.pool.alike(backend, words):
        return ""
    there = ", ".join(dict.fromkeys(card.device for card in bench.pool.cards(backend)))
    leased = any(host.is_lease for host in settings.hosts)
    remedy = "add a host such as --trt-host=ray?accelerator_type=L4 for each kind" if leased else "see --trt-device"
    return f"no device of this run is {words!r}: there is {there} ({remedy})"
