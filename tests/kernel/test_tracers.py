"""Several tracers at a time, and nothing that they leave behind."""

import os
import struct
import time

import numpy as np
import pytest

from cmonlab.errors import RuleError
from cmonlab.rules import Rule
from cmonlab.rules.plan import compile_rules
from cmonlab.study.testbed.traffic import exchange_udp, free_port, recording
from cmonlab.tracing.kernel import bpf, programs
from cmonlab.tracing.kernel.maps import possible_cpus
from cmonlab.tracing.tracer import Tracer

PROG_GET_FD_BY_ID = 13


def plans(match, points=("default",), **options):
    rule = Rule(name="all", match=match, points=list(points), **options)
    return compile_rules([rule], [point.name for point in programs.available()])


def program_ids(tracer):
    """Return the kernel's ids of a tracer's programs."""
    import ctypes

    ids = []
    for fd in tracer.active.programs.values():
        info = ctypes.create_string_buffer(232)
        bpf.call(bpf.OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", fd, len(info), ctypes.addressof(info)))
        ids.append(struct.unpack_from("<I", info, 4)[0])
    return ids


def is_loaded(program_id):
    try:
        os.close(bpf.call(PROG_GET_FD_BY_ID, struct.pack("<III", program_id, 0, 0)))
    except FileNotFoundError:
        return False
    return True


def wait_until_unloaded(ids):
    deadline = time.monotonic() + 10
    while any(is_loaded(number) for number in ids):  # the kernel frees programs a grace period later
        assert time.monotonic() < deadline
        time.sleep(0.01)


def balances(row):
    return row["seen"] == sum(row.values()) - row["seen"]


def test_two_tracers_run_at_the_same_time(lab):
    one, two, three, count = free_port(), free_port(), free_port(), 100
    with recording(lab, f"udp port {one} or udp port {three}") as first:
        exchange_udp(lab, one, 40, count=count)
        with recording(lab, f"udp port {two}") as second:
            exchange_udp(lab, two, 40, count=count)
        exchange_udp(lab, three, 40, count=count)
    for done, ports, expected in ((first, {one, three}, 2 * count), (second, {two}, count)):
        journeys = done.session.journeys()
        assert len(journeys) == expected
        assert set(journeys["dport"]) == ports
        assert journeys["complete"].all()
        assert (journeys["outcome"] == "delivered").all()
        ledger = done.session.ledger()
        assert (ledger["lost"] == 0).all()
        assert all(balances(row) for row in ledger.drop(columns="point").to_dict("records"))


def test_closed_tracer_leaves_nothing(lab):
    port = free_port()
    exchange_udp(lab, port, 40, count=1)  # its threads hold a namespace each
    fds = len(os.listdir("/proc/self/fd"))
    tracer = Tracer()
    with tracer:
        tracer.start(plans(f"udp port {port}"))
        ids = program_ids(tracer)
        # One program a point, whatever it is that the rules ask for.
        assert (
            len(set(ids)) == len(tracer.active.programs) == len([p for p in tracer.points if p.name != "sched_switch"])
        )
        assert all(is_loaded(number) for number in ids)
        exchange_udp(lab, port, 40, count=10)
    wait_until_unloaded(ids)
    tracer.close()
    assert len(os.listdir("/proc/self/fd")) == fds


def test_change_of_rules_leaves_no_old_programs(lab):
    port = free_port()
    with Tracer() as tracer:
        tracer.start(plans(f"udp port {port}"))
        before = program_ids(tracer)
        assert tracer.apply(plans(f"udp port {port}", ["path"])) == tracer.active.epoch
        wait_until_unloaded(before)
        fds = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            tracer.apply(plans(f"udp port {port}", ["path"]))
        tracer.active.wait_until_retired()
        assert len(os.listdir("/proc/self/fd")) == fds


def test_stopped_tracer_records_nothing_more(lab):
    port = free_port()
    with Tracer() as tracer:
        tracer.start(plans(f"udp port {port}", ["netif_receive_skb"]))
        exchange_udp(lab, port, 40, count=10)
        recording = tracer.stop()
        exchange_udp(lab, port, 40, count=10)  # not seen any more
    (ledger,) = recording.ledgers.values()
    assert list(ledger) == ["netif_receive_skb"]
    assert ledger["netif_receive_skb"]["recorded"] == 20 == sum(len(records) for _, records in recording.chunks)
    assert balances(ledger["netif_receive_skb"])


def test_rule_too_many_leaves_the_others_active(lab):
    port = free_port()
    names = [point.name for point in programs.available()]
    many = [Rule(name=f"r{n}", match=f"udp port {port}", points=["netif_receive_skb"]) for n in range(16)]
    more = Rule(name="more", match="", points=["netif_receive_skb"])
    with Tracer() as tracer:
        tracer.start(compile_rules(many, names))
        with pytest.raises(RuleError, match="17 rules"):
            tracer.apply(compile_rules([more, *many[:8]], names) + compile_rules(many[8:], names))
        exchange_udp(lab, port, 40, count=10)
        recording = tracer.stop()
    assert recording.ledgers[1]["netif_receive_skb"]["recorded"] == 20
    assert all(row["packets"] == 20 for row in recording.tallies)


def test_tracer_that_was_not_started_closes():
    tracer = Tracer()
    tracer.close()
    tracer.close()


def test_switch_from_an_unexpected_task_is_a_trace_gap():
    """As if a hidden task had run since time 1: the next switch shows it."""
    with Tracer() as tracer:
        tracer.start(plans("udp port 9"))
        slices = tracer._module.maps["time_slices"]
        values = np.zeros(possible_cpus(), slices.value)
        values["since_ns"], values["task"] = 1, 1
        before = time.monotonic_ns()
        slices.set(0, values.tobytes())
        deadline = time.monotonic() + 5
        while not any(start == 1 for _, start, _ in tracer.recording.trace_gaps):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        recording = tracer.stop()
    ends = [end for _, start, end in recording.trace_gaps if start == 1]
    assert all(before <= end <= time.monotonic_ns() for end in ends)
    assert all(balances(row) for ledger in recording.ledgers.values() for row in ledger.values())
