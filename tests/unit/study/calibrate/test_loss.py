"""Parts of the loss calibration that need no testbed."""

import math
import socket
import struct

import pandas as pd
import pytest

from cmonlab.errors import WorkloadError
from cmonlab.filters.ebpf import Assembler, Register
from cmonlab.study.calibrate.groups import loss_udp
from cmonlab.study.testbed import dropper
from cmonlab.study.testbed.traffic import payload


def test_assembler_adds_to_a_map_value():
    asm = Assembler()
    asm.map_value(Register.R7, 5)
    asm.fetch_and_add(Register.R7, 8, Register.R0)
    words = struct.unpack("<BBhIBBhIBBhI", asm.assemble())
    assert words == (0x18, 0x27, 0, 5, 0, 0, 0, 0, 0xDB, 0x07, 8, 1)  # BPF_PSEUDO_MAP_VALUE is 2, BPF_FETCH is 1


def test_read_rest_reads_what_was_not_dropped(monkeypatch):
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        for number in (0, 2, 3):
            sender.send(payload(number, 40))
        assert loss_udp.read_rest(receiver, 4, lambda: 1) == {0, 2, 3}
        assert loss_udp.read_rest(None, 4, lambda: 4) == set()
        monkeypatch.setattr(loss_udp, "_READ_S", 0.05)
        sender.send(payload(4, 40))
        with pytest.raises(WorkloadError, match="of 4 datagrams 1 arrived and 2 were dropped"):
            loss_udp.read_rest(receiver, 4, lambda: 2)


def test_lost_of_sums_the_last_window_of_each_direction():
    pairs = pd.DataFrame({"rule": "sum", "direction": ["a", "b", "a"], "lost_total": [1.0, 4.0, 3.0]})
    assert loss_udp.lost_of(pairs) == 7
    pairs.loc[1, "lost_total"] = math.nan  # unknown is not zero
    assert math.isnan(loss_udp.lost_of(pairs))


@pytest.mark.parametrize(
    ("file", "name"), [("snmp", "TcpRetransSegs"), ("snmp", "UdpNoPorts"), ("snmp6", "Udp6NoPorts")]
)
def test_read_counter_reads_protocol_counters(file, name):
    with open(f"/proc/thread-self/net/{file}") as lines:
        known = lines.read()
    assert dropper.read_counter(file, name) >= 0
    assert name.removeprefix("Tcp").removeprefix("Udp") in known
    with pytest.raises(KeyError):
        dropper.read_counter(file, "UdpNoSuch")
