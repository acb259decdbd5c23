"""Tracers beside each other, and nothing left behind."""

import os
import struct
import time

import pytest

from cmonlab.errors import UnknownName
from cmonlab.kernel import bpf
from cmonlab.kernel.tracer import Tracer

from .traffic import exchange_udp, free_port, recording

PROG_GET_FD_BY_ID = 13


def program_ids(tracer):
    """Return the kernel's ids of a tracer's programs."""
    import ctypes

    ids = []
    for fd in tracer._programs.values():
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


def test_two_at_the_same_time(lab):
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
        assert (ledger["seen"] == ledger["unmatched"] + ledger["recorded"]).all()


def test_closing_leaves_nothing(lab):
    port = free_port()
    fds = len(os.listdir("/proc/self/fd"))
    tracer = Tracer(f"udp port {port}")
    with tracer:
        tracer.start()
        ids = program_ids(tracer)
        assert len(ids) == len(tracer.points)
        assert all(is_loaded(number) for number in ids)
        exchange_udp(lab, port, 40, count=10)
    deadline = time.monotonic() + 10
    while any(is_loaded(number) for number in ids):  # the kernel frees programs a grace period later
        assert time.monotonic() < deadline
        time.sleep(0.01)
    tracer.close()
    assert len(os.listdir("/proc/self/fd")) == fds


def test_stopped_and_then_closed(lab):
    port = free_port()
    with Tracer(f"udp port {port}", ["netif_receive_skb"]) as tracer:
        tracer.start()
        exchange_udp(lab, port, 40, count=10)
        recording = tracer.stop()
        exchange_udp(lab, port, 40, count=10)  # not seen any more
    assert list(recording.ledger) == ["netif_receive_skb"]
    assert (
        recording.ledger["netif_receive_skb"]["recorded"] == 20 == sum(len(records) for _, records in recording.chunks)
    )


def test_an_unknown_point_loads_nothing():
    with pytest.raises(UnknownName, match="netif_receive_skb"):
        Tracer("", ["netif_receive"])


def test_closed_without_a_start():
    tracer = Tracer("udp")
    tracer.close()
    tracer.close()


def test_a_switch_that_does_not_fit_is_a_blind_interval():
    """As if a task that is kept from view had run since time 1: the switch that follows gives it away."""
    with Tracer("udp port 9") as tracer:
        tracer.start()
        turns = tracer._module.table("turns")
        told = turns.Leaf()
        for turn in told:
            turn.since_ns, turn.task = 1, 1
        before = time.monotonic_ns()
        turns[turns.Key(0)] = told
        deadline = time.monotonic() + 5
        while not any(start == 1 for _, start, _ in tracer.recording.blind):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        recording = tracer.stop()
    ends = [end for _, start, end in recording.blind if start == 1]
    assert all(before <= end <= time.monotonic_ns() for end in ends)
    assert all(row["seen"] >= row["recorded"] for row in recording.ledger.values())
