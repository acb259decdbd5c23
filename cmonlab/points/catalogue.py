"""The catalogue of points: where a packet can be stamped.

``id`` is what a record's ``point`` holds and what the C code is compiled with.
docs/points.md shows it, with what each costs.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Ids of a researcher's own points (`cmonlab.points.probe.Probe`) begin here; there may be so many at a time.
FIRST_CUSTOM, MOST_CUSTOM = 64, 16

#: What a group's points have in common.
GROUPS = {
    "default": "what a rule takes when it names no points",
    "path": "the way of a packet from device to device",
    "queue": "queueing disciplines",
    "socket": "where applications send and read",
    "sched": "who waits for a processor: softirqs and the reading task",
    "tcp": "what TCP knows: retransmissions and round trip times",
    "drops": "packets freed because something went wrong",
    "functions": "kernel functions, on hosts that allow their entry to be traced",
}


#: What a point costs, and when.
COSTS = {
    "packet": "each packet that passes there: its header is looked at, and recorded where a rule takes it",
    "socket": "each time a socket passes there: its addresses and ports are looked at, as a packet's would be",
    "task": "each time a task is woken or switched to on the host, whatever the rules match: a few stores",
    "softirq": "each softirq: one store when it is the receive softirq",
}


@dataclass(frozen=True)
class Point:
    """One place in the kernel.

    Attributes
    ----------
    id : int
        Number in the records.
    name : str
        The point's name, and its tracepoint's or function's.
    label : str
        Short word for tables and figures.
    stage : str
        What the engine makes of it: ``"transmit"``, ``"receive"``, ``"function"``
        (hops of the way), ``"deliver"``, ``"read"``, ``"send"`` (a socket and the
        application), ``"consume"``, ``"drop"`` (the packet's end), ``"retransmit"``,
        ``"rtt"``, ``"wake"``, ``"run"``, ``"softirq"``, ``"note"`` (a point of one's own
        that knows a socket and no packet).
    meaning : str
        What has just happened to a packet stamped here.
    groups : tuple of str
        Of `GROUPS`.
    since : str
        The Linux version that the tracepoint came with, where a supported one is older.
    at : str
        The tracepoint's name where it is not the point's.
    instead_of : str
        The point that this one stands in for on kernels without it.
    packet : int
        Which argument of the tracepoint or function is the packet; -1 where none is, and
        a program of its own reads what is there.
    is_function : bool
        Whether the point is the entry of a kernel function.
    module : str
        The module that the function is in, where it may be in one.
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
        """The name of the tracepoint or function that stamps."""
        return self.at or self.name

    @property
    def program(self) -> str:
        """The C function that is attached there."""
        if self.id >= FIRST_CUSTOM:
            return f"probe_{self.name}"
        return "on_packet" if self.packet >= 0 else f"on_{self.name}"

    @property
    def cost(self) -> str:
        """What is paid for, and when: of `COSTS`."""
        told = {"wake": "task", "run": "task", "softirq": "softirq"}
        return told.get(self.stage, "packet" if self.packet >= 0 else "socket")


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
    Point(2, "netif_rx", "rx", "receive", "put on a processor's backlog by a virtual device", ("default", "path")),
    Point(
        17,
        "softirq_entry",
        "softirq",
        "softirq",
        "the receive softirq begins; told by the packets received in it, has no record of its own",
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
        "the task that will read the packet is woken; told by its read",
        ("sched",),
        packet=-1,
    ),
    Point(
        16,
        "sched_switch",
        "run",
        "run",
        "the task that will read the packet gets a processor; told by its read",
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
        "TCP sends a segment once more",
        ("default", "tcp"),
        packet=-1,
    ),
    Point(
        14,
        "tcp_probe",
        "rtt",
        "rtt",
        "a connection receives a segment; tells its smoothed round trip time",
        ("tcp",),
        packet=-1,
    ),
    _function(32, "ip_rcv", "ip_rcv", "IPv4 takes a packet up (before netfilter's PREROUTING)"),
    _function(33, "ip_forward", "ip_forward", "IPv4 routes a packet on (before netfilter's FORWARD)"),
    _function(34, "ip_local_deliver", "ip_deliver", "IPv4 has a packet for this host (before netfilter's INPUT)"),
    _function(35, "ip_output", "ip_output", "IPv4 sends a packet out (before netfilter's POSTROUTING)", 2),
    _function(36, "nf_hook_slow", "netfilter", "netfilter's hooks look at a packet"),
    _function(37, "nf_conntrack_in", "conntrack", "connection tracking looks at a packet", module="nf_conntrack"),
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
    """Return the points' names by group."""
    return {name: [point.name for point in CATALOGUE if name in point.groups] for name in GROUPS}
