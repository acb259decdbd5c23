"""The catalogue of points: where a packet can be stamped.

``id`` is what a record's ``point`` holds and what the C code is compiled with.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnknownName


@dataclass(frozen=True)
class Point:
    """One place in the kernel.

    Attributes
    ----------
    id : int
        Number in the records.
    name : str
        The point's name, and its tracepoint's.
    label : str
        Short word for tables and figures.
    stage : str
        ``"transmit"``, ``"receive"``, ``"deliver"``, ``"read"``,
        ``"consume"`` or ``"drop"``.
    meaning : str
        What has just happened to a packet stamped here.
    since : str
        The Linux version that the tracepoint came with, where a supported one is older.
    at : str
        The tracepoint's name where it is not the point's.
    instead_of : str
        The point that this one stands in for on kernels without it.
    """

    id: int
    name: str
    label: str
    stage: str
    meaning: str
    since: str = ""
    at: str = ""
    instead_of: str = ""

    @property
    def tracepoint(self) -> str:
        """The name of the tracepoint that stamps."""
        return self.at or self.name


CATALOGUE: tuple[Point, ...] = (
    Point(0, "net_dev_queue", "queue", "transmit", "handed to a device, before its queueing discipline"),
    Point(1, "net_dev_start_xmit", "xmit", "transmit", "handed to the device's driver"),
    Point(2, "netif_rx", "rx", "receive", "put on a CPU's backlog by a virtual device"),
    Point(3, "netif_receive_skb", "receive", "receive", "taken up by the stack (softirq)"),
    Point(4, "napi_gro_receive_entry", "gro", "receive", "handed to GRO by a polled driver"),
    Point(5, "skb_copy_datagram_iovec", "deliver", "deliver", "payload copied to the application"),
    Point(8, "sock_recv_length", "deliver", "read", "datagram read from its UDP socket", "6.3"),
    Point(
        9,
        "skb_consume_udp",
        "deliver",
        "deliver",
        "datagram freed by the reader of its UDP socket",
        at="consume_skb",
        instead_of="sock_recv_length",
    ),
    Point(6, "consume_skb", "consume", "consume", "freed after it was used"),
    Point(7, "kfree_skb", "drop", "drop", "freed because it was dropped, with a reason"),
)

BY_NAME = {point.name: point for point in CATALOGUE}
BY_ID = {point.id: point for point in CATALOGUE}


def select(names: list[str]) -> list[Point]:
    """Return the points of these names, in the catalogue's order.

    Raises
    ------
    UnknownName
        A name is not in the catalogue, or there is none.
    """
    for name in names or [""]:
        if name not in BY_NAME:
            raise UnknownName("point", name, BY_NAME)
    return [point for point in CATALOGUE if point.name in set(names)]
