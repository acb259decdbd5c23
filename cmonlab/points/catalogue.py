"""The catalogue of points: places in the kernel where packets are timestamped.

Records have the point's ``id``, and the C code is compiled with the ids. ``docs/points.md`` shows the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Ids of custom probes (`cmonlab.points.probe.Probe`) begin here, and so many may be used at a time.
FIRST_PROBE, MAX_PROBES = 64, 16

#: What a group's points have in common.
GROUPS = {
    "default": "what a rule takes if it names no points",
    "path": "the path of a packet from device to device",
    "queue": "queueing disciplines",
    "socket": "where applications send and read",
    "sched": "what waits for a CPU: softirqs and the task that reads",
    "tcp": "what TCP knows: retransmissions and round trip times",
    "drops": "packets that were dropped",
    "functions": "kernel functions, on hosts that allow their entry to be traced",
}


#: When a point's program runs, and what it does then.
COSTS = {
    "packet": "for each packet at the point: its headers are read, and a hop is recorded if a rule takes the packet",
    "socket": "for each event of a socket at the point: its addresses and ports are read, as a packet's are",
    "task": "each time a task on the host is woken or gets a CPU, whatever the rules match: a few stores",
    "softirq": "for each softirq: one store if it is the receive softirq",
}


@dataclass(frozen=True)
class Point:
    """One place in the kernel.

    Attributes
    ----------
    id : int
        Number in the records, 0 to 254.
    name : str
        Name of the point; also of its tracepoint or function, unless `at` is given.
    label : str
        Short name for tables and figures.
    stage : str
        What the correlation uses its records for: ``"transmit"``, ``"receive"`` and ``"function"`` are hops of the
        packet's path; ``"send"``, ``"deliver"`` and ``"read"`` are between a socket and its application;
        ``"consume"`` and ``"drop"`` are a packet's end; ``"retransmit"`` and ``"rtt"`` come from TCP sockets;
        ``"wake"``, ``"run"`` and ``"softirq"`` from the scheduler and softirqs; ``"note"`` is a custom probe with a
        socket and no packet.
    meaning : str
        What has just happened when the point is passed.
    groups : tuple of str
        Keys of `GROUPS`.
    since : str
        The Linux version that the tracepoint came with, if it is newer than the oldest supported one.
    at : str
        Name of the tracepoint or function, if it is not the point's.
    instead_of : str
        Name of the point that this one stands in for on kernels that lack it.
    packet : int
        Which argument of the tracepoint or function is the packet, from 0; -1 if none is: then the point has a program
        of its own.
    is_function : bool
        Whether the point is the entry of a kernel function.
    module : str
        The module that the function may be in.
    """

    id: int
    name: str
    label: str
    stage: str
    meaning: str
    groups: tuple[str, ...] = ()
    since: str = ""
    at: str = ""
    instead_of: str = ""
    packet: int = 0
    is_function: bool = False
    module: str = ""

    @property
    def tracepoint(self) -> str:
        """The name of the tracepoint or function."""
        return self.at or self.name

    @property
    def program(self) -> str:
        """The C function that is attached there."""
        if self.id >= FIRST_PROBE:
            return f"probe_{self.name}"
        return "on_packet" if self.packet >= 0 else f"on_{self.name}"

    @property
    def cost(self) -> str:
        """When the program runs: a key of `COSTS`."""
        kinds = {"wake": "task", "run": "task", "softirq": "softirq"}
        return kinds.get(self.stage, "packet" if self.packet >= 0 else "socket")


def _function(number: int, name: str, label: str, meaning: str, argument: int = 0, module: str = "") -> Point:
    return Point(
        number, name, label, "function", meaning, ("functions",), packet=argument, is_function=True, module=module
    )


_OVS = "openvswitch"

CATALOGUE: tuple[Point, ...] = (
    Point(
        10,
        "tcp_sendmsg_locked",
        "send",
        "send",
        "the application hands data to a TCP socket",
        ("socket",),
        since="6.16",
        packet=-1,
    ),
    Point(
        0,
        "net_dev_queue",
        "queue",
        "transmit",
        "handed to a device, before its queueing discipline",
        ("default", "path"),
    ),
    Point(
        11,
        "qdisc_enqueue",
        "enqueue",
        "transmit",
        "put into a queueing discipline (only where it cannot be bypassed)",
        ("default", "queue"),
        since="5.16",
        packet=2,
    ),
    Point(
        12,
        "qdisc_dequeue",
        "dequeue",
        "transmit",
        "taken out of the queueing discipline",
        ("default", "queue"),
        packet=3,
    ),
    Point(1, "net_dev_start_xmit", "xmit", "transmit", "handed to the device's driver", ("default", "path")),
    Point(2, "netif_rx", "rx", "receive", "put on a CPU's backlog by a virtual device", ("default", "path")),
    Point(
        17,
        "softirq_entry",
        "softirq",
        "softirq",
        "the receive softirq begins; reported by the packets received in it, without a record of its own",
        ("default", "sched"),
        packet=-1,
    ),
    Point(
        4,
        "napi_gro_receive_entry",
        "gro",
        "receive",
        "handed to GRO by a polled driver",
        ("default", "path"),
    ),
    Point(3, "netif_receive_skb", "receive", "receive", "taken up by the stack (softirq)", ("default", "path")),
    Point(
        15,
        "sched_waking",
        "wake",
        "wake",
        "the task that will read the packet is woken; recorded with its read",
        ("sched",),
        packet=-1,
    ),
    Point(
        16,
        "sched_switch",
        "run",
        "run",
        "the task that will read the packet gets a CPU; recorded with its read",
        ("sched",),
        packet=-1,
    ),
    Point(
        8,
        "sock_recv_length",
        "read",
        "read",
        "the application has read it from its socket",
        ("default", "socket"),
        since="6.3",
        packet=-1,
    ),
    Point(
        5,
        "skb_copy_datagram_iovec",
        "copy",
        "deliver",
        "payload copied to the application",
        ("default", "socket"),
        instead_of="sock_recv_length",
    ),
    Point(
        9,
        "skb_consume_udp",
        "deliver",
        "deliver",
        "datagram freed by the reader of its UDP socket",
        ("default", "socket"),
        at="consume_skb",
        instead_of="sock_recv_length",
    ),
    Point(6, "consume_skb", "consume", "consume", "freed after it was used", ("default",)),
    Point(7, "kfree_skb", "drop", "drop", "freed because it was dropped, with a reason", ("default", "drops")),
    Point(
        13,
        "tcp_retransmit_skb",
        "retransmit",
        "retransmit",
        "TCP retransmits a segment",
        ("default", "tcp"),
        packet=-1,
    ),
    Point(
        14,
        "tcp_probe",
        "rtt",
        "rtt",
        "a connection receives a segment; records its smoothed round-trip time",
        ("tcp",),
        packet=-1,
    ),
    _function(32, "ip_rcv", "ip_rcv", "IPv4 takes a packet up (before netfilter's PREROUTING)"),
    _function(33, "ip_forward", "ip_forward", "IPv4 routes a packet on (before netfilter's FORWARD)"),
    _function(34, "ip_local_deliver", "ip_deliver", "IPv4 has a packet for this host (before netfilter's INPUT)"),
    _function(35, "ip_output", "ip_output", "IPv4 sends a packet out (before netfilter's POSTROUTING)", 2),
    _function(36, "nf_hook_slow", "netfilter", "netfilter's hooks process a packet"),
    _function(37, "nf_conntrack_in", "conntrack", "connection tracking processes a packet", module="nf_conntrack"),
    _function(38, "br_handle_frame_finish", "br_handle", "a bridge decides where a packet goes", 2, module="bridge"),
    _function(39, "br_forward", "br_forward", "a bridge passes a packet on", 1, module="bridge"),
    _function(40, "vxlan_xmit", "vxlan_xmit", "VXLAN wraps a packet", module="vxlan"),
    _function(41, "vxlan_rcv", "vxlan_rcv", "VXLAN takes a packet out of its tunnel", 1, module="vxlan"),
    _function(42, "ovs_vport_receive", "ovs_receive", "Open vSwitch takes a packet from a port", 1, module=_OVS),
    _function(43, "ovs_dp_process_packet", "ovs_lookup", "Open vSwitch looks for a packet's flow", module=_OVS),
    _function(44, "ovs_vport_send", "ovs_send", "Open vSwitch sends a packet out of a port", 1, module=_OVS),
    _function(45, "tcp_v4_rcv", "tcp_rcv", "TCP takes a segment up"),
    _function(46, "udp_queue_rcv_one_skb", "udp_rcv", "UDP puts a datagram into its socket's queue", 1),
)

BY_ID = {point.id: point for point in CATALOGUE}
BY_NAME = {point.name: point for point in CATALOGUE}


def groups() -> dict[str, list[str]]:
    """Return the names of the points of each group, by the group's name."""
    return {name: [point.name for point in CATALOGUE if name in point.groups] for name in GROUPS}
