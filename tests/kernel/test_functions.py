"""Kernel functions as points, in modules too, on hosts that let their entry be traced.

Where the host does not, `tests/guests/run` boots a kernel that does.
"""

import shutil
import subprocess

import pytest

from cmonlab.points.catalogue import BY_ID, BY_NAME, CATALOGUE
from cmonlab.study.testbed.traffic import exchange_udp, free_port
from cmonlab.tracing.kernel import modules, programs
from cmonlab.tracing.kernel.btf import VMLINUX

from .test_probe import balances, traced

FUNCTIONS = [point for point in CATALOGUE if point.is_function]


@pytest.fixture
def traceable():
    if why := programs.functions_traceable():
        pytest.skip(f"optional: functions cannot be traced: {why}")


def hops_by_journey(done):
    """Return the names of each journey's points, in order."""
    found, names = done.found, [BY_ID[number].name for number in done.events["point"].tolist()]
    return [[names[at] for at in found.event[found.start[j] : found.start[j + 1]].tolist()] for j in range(len(found))]


def test_each_function_is_available_or_has_a_reason():
    for point in FUNCTIONS:
        why = programs.why_missing(point)
        assert (not why) == programs.is_available(point) == (point in programs.available())
        module = modules.module_of(point.name)
        if module is None:
            assert "no such function" in why
        else:
            found = modules.types_of(module).parameters(point.name)
            assert (found[point.packet] == "sk_buff") or f"argument {point.packet}" in why


def test_function_whose_argument_is_no_packet_is_unavailable(monkeypatch):
    monkeypatch.setattr(programs, "functions_traceable", lambda: "")
    wrong = BY_NAME["ip_output"].__class__(**{**vars(BY_NAME["ip_output"]), "packet": 1})
    assert programs.why_missing(wrong) == "in this kernel its argument 1 is not the packet"


def test_function_of_the_kernel_is_on_every_journey(lab, traceable):
    port, count = free_port(), 100
    with traced(lab, [], f"udp port {port}", ["default", "ip_rcv", "ip_output", "udp_queue_rcv_one_skb"]) as done:
        exchange_udp(lab, port, 40, count=count)
    assert balances(done[0].ledger)
    assert done[0].ledger["ip_rcv"]["recorded"] == count
    journeys = hops_by_journey(done[0])
    assert len(journeys) == count
    for hops in journeys:
        assert hops[0] == "ip_output"
        assert hops.index("udp_queue_rcv_one_skb") > hops.index("ip_rcv") > hops.index("netif_rx")
    # The packet has no device yet where IP sends it out: the namespace is its socket's.
    events = done[0].events
    sent = events["netns"][events["point"] == BY_NAME["ip_output"].id]
    arrived = events["netns"][events["point"] == BY_NAME["ip_rcv"].id]
    assert len(set(sent)) == len(set(arrived)) == 1 and set(sent) != set(arrived) and 0 not in sent


def test_function_of_a_module_is_on_every_journey(lab, traceable):
    """Packets over a bridge pass br_forward; on many kernels the bridge is a module."""
    missing = [name for name in ("br_handle_frame_finish", "br_forward") if not programs.is_available(BY_NAME[name])]
    if missing:
        pytest.skip(f"optional: {missing[0]}: {programs.why_missing(BY_NAME[missing[0]])}")
    port, count = free_port(), 100
    with traced(lab, [], f"udp port {port}", ["default", "br_handle_frame_finish", "br_forward"]) as done:
        exchange_udp(lab, port, 40, count=count)
    assert balances(done[0].ledger)
    for hops in hops_by_journey(done[0]):
        at = hops.index("br_handle_frame_finish")
        assert hops[at + 1] == "br_forward"
        assert "netif_receive_skb" in hops[:at] and "net_dev_queue" in hops[at:]


def test_function_of_a_module_loaded_later_is_available(lab, traceable):
    """nf_conntrack is in a module of its own, or in the kernel: its function is traced in both."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-qa", "nf_conntrack", "xt_conntrack", "nft_compat"], check=False)
    point = BY_NAME["nf_conntrack_in"]
    if why := programs.why_missing(point):
        pytest.skip(f"optional: nf_conntrack_in: {why}")
    module = modules.module_of(point.name)
    assert module == ("nf_conntrack" if (VMLINUX.parent / "nf_conntrack").exists() else "")
    rule = ["INPUT", "-p", "udp", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT"]
    made = subprocess.run(lab.argv("c0", "iptables", "-A", *rule), capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"optional: no connection tracking in a namespace: {made.stderr.strip()}")
    port, count = free_port(), 50
    try:
        with traced(lab, [], f"udp port {port}", ["default", "ip_rcv", "nf_conntrack_in"]) as done:
            exchange_udp(lab, port, 40, count=count)
    finally:
        lab.run("c0", "iptables", "-D", *rule)
    assert balances(done[0].ledger)
    for hops in hops_by_journey(done[0]):
        assert hops.index("nf_conntrack_in") > hops.index("ip_rcv")


def test_every_available_function_attaches(lab, traceable):
    there = [point.name for point in FUNCTIONS if programs.is_available(point)]
    port = free_port()
    with traced(lab, [], f"udp port {port}", ["path", *there]) as done:
        exchange_udp(lab, port, 40, count=10)
    assert set(there) <= set(done[0].ledger) and balances(done[0].ledger)
