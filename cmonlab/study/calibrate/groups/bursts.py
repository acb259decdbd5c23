"""Bursts of numbered datagrams, with the kernel's own time stamps of each."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass

import pandas as pd

from cmonlab.session.session import Session

from ...testbed.stamps import Tap, now_ns, sent_stamps, stamp_sent
from ...testbed.testbed import Testbed
from ...testbed.traffic import ADDRESS, free_port, payload, receive_udp, recording, udp_socket
from ..score import hops_of

LINK_BYTES = 1000  # of a packet with its Ethernet header, as qdiscs count it
SIZE = LINK_BYTES - 14 - 20 - 8
_SO_SNDBUFFORCE = 32


@dataclass(frozen=True)
class Sent:
    """Datagrams from c1 to c0, with times (ns, by number) that do not come from the session.

    Attributes
    ----------
    session : Session
        The recording.
    hops : DataFrame
        From `score.hops_of`.
    called, returned : Series
        Before and after the sender's system call.
    queued, driven : Series
        The kernel's stamps at c1's device: before the packet is queued, and when the driver has it. Empty unless
        requested.
    leaves : Series
        Stamp of a packet socket on c1's device: before the driver gets the packet.
    came, left : Series
        Stamps of packet sockets: arrival at the bridge, and before the driver of the bridge's port gets the packet.
    arrived : Series
        Stamp of a packet socket: arrival at c0's device.
    """

    session: Session
    hops: pd.DataFrame
    called: pd.Series
    returned: pd.Series
    queued: pd.Series
    driven: pd.Series
    leaves: pd.Series
    came: pd.Series
    left: pd.Series
    arrived: pd.Series


def send_bursts(bed: Testbed, length: int, bursts: int = 1, stamped: bool = False) -> Sent:
    """Send bursts of datagrams from c1 to c0; each burst is sent when the one before has been read.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    length, bursts : int
        Packets per burst, and number of bursts.
    stamped : bool
        Also take the kernel's stamps for the sending socket.
    """
    port, count = free_port(), length * bursts
    receiver, sender = udp_socket(bed, "c0", port), udp_socket(bed, "c1")
    places = (("c1", "eth0"), ("host", "veth1"), ("host", "veth0"), ("c0", "eth0"))
    times: dict[int, tuple[int, int]] = {}

    def exchange() -> None:
        for first in range(0, count, length):
            for number in range(first, first + length):
                data, called = payload(number, SIZE), now_ns()
                sender.sendto(data, (ADDRESS[4]["c0"], port))
                times[number] = called, now_ns()
            # Read afterwards, because a concurrent reader would delay the sender between two packets.
            receive_udp(receiver, length)

    with receiver, sender, ExitStack() as stack:
        taps = [stack.enter_context(Tap(bed, *place, port)) for place in places]
        sender.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 16 << 20)
        if stamped:
            stamp_sent(sender)
        with recording(bed, f"udp port {port}") as done:
            bed.call("c1", exchange)
        own = pd.DataFrame.from_dict(times, "index")
        return Sent(
            done.session,
            hops_of(done.session, port, SIZE, count),
            own[0],
            own[1],
            *sent_stamps(sender),
            *(tap.stamps() for tap in taps),
        )
