"""Datagrams of many flows in turn: ``python manyflows.py ADDRESS FLOWS``.

A flow is a port of one's own and a port of the destination.  Imports nothing but the
standard library, so that it starts at once.
"""

import socket
import sys

MESSAGE = bytes(range(64))
FIRST_PORT, PORTS = 10_000, 50_000


def ports(flows: int) -> list[range]:
    """Return the destination ports of each socket; together they make the given number of flows."""
    full, rest = divmod(flows, PORTS)
    return [range(FIRST_PORT, FIRST_PORT + count) for count in [PORTS] * full + [rest] * (rest > 0)]


def main() -> None:
    """Send one datagram per flow, one flow after the other, until killed."""
    address, flows = sys.argv[1], int(sys.argv[2])
    sockets = [(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), numbers) for numbers in ports(flows)]
    while True:
        for sender, numbers in sockets:
            for number in numbers:
                sender.sendto(MESSAGE, (address, number))


if __name__ == "__main__":
    main()
