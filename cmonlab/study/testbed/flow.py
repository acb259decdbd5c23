"""A flow of numbered datagrams, and the journeys expected of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .senders import Batch
from .testbed import Testbed
from .traffic import ADDRESS, free_port, hash_of, payload

#: Payload of most datagrams.
SIZE_BYTES = 40
BUFFER_BYTES = 256 << 20


@dataclass(frozen=True)
class Flow:
    """What is sent, and the journeys expected of it.

    Attributes
    ----------
    rule : str
        pcap expression that matches its packets.
    sender, receiver : socket.socket
        Sockets of both ends.
    batch : Batch
        The messages; each leaves the sender as one packet.
    journeys : int
        Expected number of journeys; each fragment and each part counts.
    complete : int
        How many of these are complete.
    numbers : list of int
        Numbers of the messages that the application must read, in this order.
    expected_seq : list of int, optional
        The events' ``seq`` of the packets in order of departure, if each message is one packet.
    seq_of : callable
        Returns the events' ``seq`` for the number of a message.
    receiver_name : str
        Namespace of the receiver.
    parts : int
        Into how many packets each sent packet is split on its path; 0: not split.
    at, width : int
        Offset and width of the number in a message that is read, in bytes.
    """

    rule: str
    sender: socket.socket
    receiver: socket.socket
    batch: Batch
    journeys: int
    complete: int
    numbers: list[int]
    expected_seq: list[int] | None
    seq_of: Callable[[int], int]
    receiver_name: str = "c0"
    parts: int = 0
    at: int = 0
    width: int = 4


def seq_function(size: int) -> Callable[[int], int]:
    """Return a function: number of a datagram of `size` bytes → ``seq`` of its events."""
    return lambda number: hash_of(number, size)


def _bound(bed: Testbed, name: str, family: int, address: str, port: int = 0) -> socket.socket:
    def make() -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, 33, BUFFER_BYTES)  # SO_RCVBUFFORCE
        sock.bind((address, port))
        return sock

    return bed.call(name, make)


@contextmanager
def udp_flow(
    bed: Testbed,
    count: int,
    *,
    family: int = socket.AF_INET,
    bind: str = ADDRESS[4]["c0"],
    target: str = "",
    source: str = "",
    size: int = SIZE_BYTES,
    rule: str = "udp port {port}",
    times: int = 1,
) -> Iterator[Flow]:
    """Yield a flow of numbered UDP datagrams from c1 to c0.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    family : int
        Address family of the sockets.
    bind : str
        Address of the receiver.
    target : str
        Address to send to; empty: `bind`.
    source : str
        Address of the sender; empty: any.
    size : int
        Payload of each datagram in bytes.
    rule : str
        pcap expression of the packets, with ``{port}`` for the port.
    times : int
        How many packets each datagram becomes.
    """
    port = free_port()
    target = target or bind
    with (
        _bound(bed, "c0", family, bind, port) as receiver,
        _bound(bed, "c1", family, source) as sender,
    ):
        bed.call("c1", sender.connect, (target, port))
        _find_neighbours(bed, sender, receiver)
        numbers, seq_of = list(range(count)), seq_function(size)
        batch = Batch([payload(number, size) for number in numbers])
        expected = [seq_of(number) for number in numbers] if times == 1 else None
        packets = times * count
        yield Flow(rule.format(port=port), sender, receiver, batch, packets, packets, numbers, expected, seq_of)


def _find_neighbours(bed: Testbed, sender: socket.socket, receiver: socket.socket) -> None:
    """Send one datagram ahead, because another CPU sends the packets that wait for a neighbour's address."""
    bed.call("c1", sender.send, b"ahead")
    receiver.settimeout(10)
    receiver.recv(100)
