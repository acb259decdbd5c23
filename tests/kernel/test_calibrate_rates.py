"""Throughput and round-trip times agree with iperf3, sockperf, ss and interface counters."""

import re
import shutil
from functools import partial

import pytest

from cmonlab.study.calibrate.check import Check, Unavailable, repeat_over_trace_gaps
from cmonlab.study.calibrate.groups import rates
from cmonlab.study.calibrate.groups.roundtrips import loaded, ping_pong, quiet, way_in_ns
from cmonlab.study.calibrate.groups.transfers import LOADS, connection, transfer


def passed(make):
    """Run a scenario whose checks must all pass, and return them by name."""
    checks = repeat_over_trace_gaps(make)
    assert checks
    assert not [check for check in checks if not check.passed]
    return {check.name: check for check in checks}


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_throughput_agrees_with_iperf3_and_the_interface(lab, load):
    checks = passed(partial(transfer, lab, load, 2))
    assert all(check.truth > 1_000_000 or check.unit == "datagrams" for check in checks.values())
    assert {name.rsplit(", ", 1)[1] for name in checks} >= {"journeys", "pairs()"}


def test_bytes_of_a_connection_agree_with_its_sockets(lab):
    checks = passed(partial(connection, lab, 1_000_003))
    assert sorted(check.measured for check in checks.values()) == [1001, 1001, 1_000_003, 1_000_003]


def test_srtt_of_an_idle_connection_agrees_with_ss(lab):
    (check,) = passed(partial(quiet, lab, 10)).values()
    assert check.tolerance == 0 and check.truth > 0


def test_srtt_under_load_agrees_with_the_socket(lab):
    (check,) = passed(partial(loaded, lab, 1)).values()
    assert check.truth > 0


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_round_trips_agree_with_sockperf(lab, protocol):
    (check,) = passed(partial(ping_pong, lab, protocol, 1)).values()
    reported_us = float(re.search(r"--full-rtt: ([\d.]+) us", check.note)[1])
    assert check.measured < 1000 * reported_us  # sockperf's also contain the time into the kernel and back


def test_time_before_the_device_is_some_microseconds(lab):
    assert 100 < way_in_ns(lab) < 50_000


def test_run_reports_programs_that_are_not_installed(lab, monkeypatch):
    """The other scenarios still run."""
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/ss" if name == "ss" else None)
    monkeypatch.setattr(rates, "loaded", lambda bed, seconds: [])
    found = list(rates.run(lab, quick=True))
    missing = [one for one in found if isinstance(one, Unavailable)]
    assert {one.why for one in missing} == {"iperf3 is not installed", "sockperf is not installed"}
    assert len(missing) == len(LOADS) + 2
    checks = [check for one in found if isinstance(one, list) for check in one]
    assert {check.group for check in checks} == {"throughput", "rtt"}
    assert all(isinstance(check, Check) for check in checks)
