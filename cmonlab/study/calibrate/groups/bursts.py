"""Bursts of numbered datagrams, and what the kernel itself says of where each was when."""

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

LINK_BYTES = 1000  # of a packet with its Ethernet header, as queueing disciplines count
SIZE = LINK_BYTES - 14 - 20 - 8
_SO_SNDBUFFORCE = 32


@dataclass(frozen=True)
class Sent:
    """What is known of datagrams from c1 to c0, in ns by their number, from outside of the session.

    Attributes
    ----------
    session : Session
    hops : DataFrame
        From `score.hops_of`.
    called, returned : Series
        When the sender called the kernel, and when that came back.
    queued, driven : Series
        The kernel's stamps at c1's device: before it is queued, and when the driver has it. Empty unless asked for.
    leaves : Series
        At a packet socket on c1's device: before it is given to the driver.
    came, left : Series
        At packet sockets: where it came to the bridge, and before it was given to the driver of the bridge's port.
    arrived : Series
        At a packet socket: where it came to c0's device.
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
    """Send bursts of datagrams from c1 to c0, each when the one before has been read.

    Parameters
    ----------
    bed : Testbed
    length, bursts : int
        Packets of a burst, and how many bursts.
    stamped : bool
        Let the kernel stamp for the sending socket as well.
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
            # Read afterwards: a reader beside the sender would keep it from sending back to back.
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
