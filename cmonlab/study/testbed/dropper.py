"""Known packet loss: tc filters, nftables rules and queues that drop packets in a testbed and count them."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cmonlab.errors import NotTraceable
from cmonlab.filters.ebpf import ADD, JNE, MOD, MOV, Assembler, Register
from cmonlab.tracing.kernel import bpf

from .testbed import Testbed, command

Count = Callable[[], int]

#: Where a packet's destination port begins: behind the IP header, by version (no options, no extensions).
_PORT_AT = {4: 20 + 2, 6: 40 + 2}
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_ETHERNET_BYTES = 14
# struct __sk_buff, a filter's verdicts and a helper (include/uapi/linux/bpf.h, pkt_cls.h)
_PROTOCOL_AT, _NEXT, _SHOT, _SKB_LOAD_BYTES = 16, -1, 2, 26
_HOOK_PARENT = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # of a clsact qdisc
_BRIDGE, _NETWORK_HEADER, _EQUAL, _DROP, _ACCEPT = 7, 1, 0, 0, 1  # NFPROTO_, NFT_PAYLOAD_, NFT_CMP_, NF_
_TABLE = "cmonlab"


@contextmanager
def classifier(bed: Testbed, place: tuple[str, str, str], port: int, every: int, version: int = 4) -> Iterator[Count]:
    """Drop every n-th packet to a port with a tc program; yield a function that returns the number of drops.

    Parameters
    ----------
    bed : Testbed
        Where to drop.
    place : (str, str, str)
        Namespace, device, and ``"ingress"`` or ``"egress"``.
    port : int
        Destination port, UDP or TCP.
    every : int
        Drop the last one of this many packets.
    version : int
        IP version, 4 or 6.

    Raises
    ------
    NotTraceable
        The kernel does not accept the program.
    """
    namespace, device, hook = place
    with _translated("a tc program cannot be attached"):
        counters = bpf.create_map(bpf.MAP_TYPE_ARRAY, 4, 16, 1, name="cmonlab_drops")
    try:
        with _translated("a tc program cannot be attached"):
            program = bpf.load_classifier(_drop_each(counters, port, every, version))
            try:
                bed.call(namespace, _attach, device, program, _HOOK_PARENT[hook])
            finally:
                os.close(program)
        try:
            yield lambda: struct.unpack("<QQ", bpf.lookup(counters, bytes(4), 16))[1]
        finally:
            command("tc", "-n", bed.namespaces[namespace], "qdisc", "del", "dev", device, "clsact")
    finally:
        os.close(counters)


def _drop_each(counters: int, port: int, every: int, version: int) -> bytes:
    """Return a filter that counts the packets to a port, and drops and counts every n-th."""
    asm, (r0, r1, r2, r3, r4, _, context, counted, *_, frame) = Assembler(), Register
    asm.alu(MOV, context, r1, wide=True)
    asm.load(4, r0, context, _PROTOCOL_AT)
    asm.jump_if(JNE, r0, socket.htons(_ETHERTYPE[version]), "pass")
    asm.alu(MOV, r1, context, wide=True)
    asm.alu(MOV, r2, _ETHERNET_BYTES + _PORT_AT[version])
    asm.alu(MOV, r3, frame, wide=True)
    asm.alu(ADD, r3, -8, wide=True)
    asm.alu(MOV, r4, 2)
    asm.call(_SKB_LOAD_BYTES)
    asm.jump_if(JNE, r0, 0, "pass")
    asm.load(2, r0, frame, -8)
    asm.jump_if(JNE, r0, socket.htons(port), "pass")
    asm.map_value(counted, counters)
    asm.alu(MOV, r0, 1)
    asm.fetch_and_add(counted, 0, r0)
    asm.alu(MOD, r0, every)
    asm.jump_if(JNE, r0, every - 1, "pass")
    asm.alu(MOV, r0, 1)
    asm.fetch_and_add(counted, 8, r0)
    asm.alu(MOV, r0, _SHOT)
    asm.exit()
    asm.place("pass")
    asm.alu(MOV, r0, _NEXT)
    asm.exit()
    return asm.assemble()


def _attach(device: str, program: int, parent: int) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        index = route.link_lookup(ifname=device)[0]
        route.tc("add", "clsact", index)
        try:
            route.tc("add-filter", "bpf", index, fd=program, name="cmonlab", parent=parent, direct_action=True)
        except BaseException:
            route.tc("del", "clsact", index)
            raise


@contextmanager
def nft_rule(bed: Testbed, namespace: str, port: int, every: int, version: int = 4) -> Iterator[Count]:
    """Drop every n-th packet to a port on a bridge with an nftables rule; yield a function that returns the drops.

    In the syntax of nft: ``table bridge cmonlab { chain forward { type filter hook forward priority 0;
    udp dport PORT numgen inc mod EVERY == EVERY-1 counter drop } }``.

    Parameters
    ----------
    bed : Testbed
        Where to drop.
    namespace : str
        Namespace with the bridge.
    port : int
        Destination port.
    every : int
        Drop the last one of this many packets.
    version : int
        IP version, 4 or 6.

    Raises
    ------
    NotTraceable
        The kernel does not accept the rule.
    """
    with _translated("an nftables rule cannot be added"):
        bed.call(namespace, _add_rule, port, every, version)
    try:
        yield lambda: bed.call(namespace, _counted)
    finally:
        bed.call(namespace, _remove_table)


def _add_rule(port: int, every: int, version: int) -> None:
    from pyroute2.nftables.expressions import genex, verdict
    from pyroute2.nftables.main import NFTables

    def equals(value: bytes) -> dict:
        return genex("cmp", {"sreg": 1, "op": _EQUAL, "data": {"attrs": [("NFTA_DATA_VALUE", value)]}})

    load = genex("payload", {"dreg": 1, "base": _NETWORK_HEADER, "offset": _PORT_AT[version], "len": 2})
    number = {"attrs": [("NFTA_NG_DREG", 1), ("NFTA_NG_MODULUS", every), ("NFTA_NG_TYPE", 0)]}  # incremental
    count = {"attrs": [("NFTA_EXPR_NAME", "numgen"), ("NFTA_EXPR_DATA", number)]}
    rule = [load, equals(struct.pack(">H", port)), count, equals(struct.pack("=I", every - 1)), genex("counter", {})]
    with NFTables(nfgen_family=_BRIDGE) as tables:
        tables.table("add", name=_TABLE)
        tables.chain("add", table=_TABLE, name="forward", hook="forward", type="filter", priority=0, policy=_ACCEPT)
        tables.rule("add", table=_TABLE, chain="forward", expressions=([each] for each in (*rule, *verdict(_DROP))))


def _counted() -> int:
    from pyroute2.nftables.main import NFTables

    with NFTables(nfgen_family=_BRIDGE) as tables:
        (rule,) = tables.get_rules()
    expressions = {each.get_attr("NFTA_EXPR_NAME"): each for each in rule.get_attr("NFTA_RULE_EXPRESSIONS")}
    return expressions["counter"].get_attr("NFTA_EXPR_DATA").get_attr("NFTA_COUNTER_PACKETS")


def _remove_table() -> None:
    from pyroute2.nftables.main import NFTables

    with NFTables(nfgen_family=_BRIDGE) as tables:
        tables.table("del", name=_TABLE)


@contextmanager
def queue(bed: Testbed, namespace: str, device: str, *qdiscs: str) -> Iterator[Count]:
    """Give a device a queue; yield a function that returns how many packets it dropped, by the kernel's counters.

    Parameters
    ----------
    bed : Testbed
        Where to add the queue.
    namespace, device : str
        Namespace and device.
    *qdiscs : str
        One text per qdisc or class: the words after ``tc qdisc add dev DEVICE`` or ``tc class add dev DEVICE``. The
        first is the root qdisc.

    Raises
    ------
    NotTraceable
        The kernel does not accept it.
    """
    tc = ("tc", "-n", bed.namespaces[namespace])
    command(*tc, "qdisc", "add", "dev", device, *qdiscs[0].split())
    try:
        for below in qdiscs[1:]:
            command(*tc, "class" if "classid" in below else "qdisc", "add", "dev", device, *below.split())
        # A qdisc also counts what its children dropped.
        yield lambda: json.loads(command(*tc, "-s", "-j", "qdisc", "show", "dev", device, "root"))[0]["drops"]
    finally:
        command(*tc, "qdisc", "del", "dev", device, "root")


@contextmanager
def counter(bed: Testbed, namespace: str, file: str, name: str) -> Iterator[Count]:
    """Yield a function that returns by how much a protocol counter of a namespace has grown.

    Parameters
    ----------
    bed : Testbed
        Where to read.
    namespace : str
        Name of the namespace.
    file : str
        ``"snmp"`` or ``"snmp6"``, of ``/proc/net``.
    name : str
        Protocol and counter, for instance ``"UdpNoPorts"`` or ``"Udp6NoPorts"``.
    """
    before = bed.call(namespace, read_counter, file, name)
    yield lambda: bed.call(namespace, read_counter, file, name) - before


def read_counter(file: str, name: str) -> int:
    """Return a protocol counter of the calling thread's namespace.

    Parameters
    ----------
    file : str
        ``"snmp"`` or ``"snmp6"``.
    name : str
        Protocol and counter, for instance ``"UdpNoPorts"`` or ``"Udp6NoPorts"``.

    Returns
    -------
    int

    Raises
    ------
    KeyError
        There is no such counter.
    """
    with open(f"/proc/thread-self/net/{file}") as lines:
        rows = [line.split() for line in lines]
    if file == "snmp":  # per protocol one line of names and one of numbers
        heads = zip(rows[::2], rows[1::2], strict=True)
        pairs = [
            (head[0][:-1] + word, value)
            for head, numbers in heads
            for word, value in zip(head[1:], numbers[1:], strict=True)
        ]
    else:
        pairs = [(row[0], row[1]) for row in rows]
    return int(dict(pairs)[name])


@contextmanager
def _translated(what: str) -> Iterator[None]:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except (OSError, NetlinkError) as error:
        raise NotTraceable(what, why=str(error), fix="use a kernel that is built with this feature") from error
