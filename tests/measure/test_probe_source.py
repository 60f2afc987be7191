"""Test how the probes of both sides are opened and renewed."""

from __future__ import annotations

from samples.processes import has_ended

from pytest_trt.measure.probe_source import ProbeSource


def test_renew_opens_probes_in_reverse_order_and_close_ends_them(server, subject):
    source = ProbeSource([(server, subject), (server, subject)])
    first = [probe._probe.pid for probe in source.probes]
    assert first == sorted(first)
    source.renew()
    assert all(has_ended(pid) for pid in first)
    second = [probe._probe.pid for probe in source.probes]
    assert second == sorted(second, reverse=True)
    source.close()
    assert all(has_ended(pid) for pid in second)


def test_a_second_look_opens_the_probes_in_the_other_order(server, subject):
    """An error that the order of opening makes must not confirm itself."""
    opened = []

    class Side:
        backend = server.backend

        def __init__(self, name):
            self.name = name

        def fork(self):
            opened.append(self.name)
            return server.fork()

    sides = [(Side("new"), subject), (Side("old"), subject)]
    for reverse in (False, True):
        with ProbeSource(sides, reverse_opening=reverse) as source:
            source.renew()
    first, second = opened[:4], opened[4:]
    assert sorted(first[:2]) == sorted(second[:2]) == ["new", "old"]
    assert second == [first[1], first[0], first[3], first[2]]
