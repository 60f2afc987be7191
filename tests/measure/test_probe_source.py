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
