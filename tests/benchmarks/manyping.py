"""Small messages between many namespaces, in turn: ``python manyping.py PREFIX PAIRS PORT``.

One process with a socket in each of the namespaces PREFIX-0, PREFIX-1, …, of which two
neighbours are a pair: 0 has the address 10.78.0.1, 1 has 10.78.0.2, and so on.  Imports
nothing but the standard library, so that it starts at once.
"""

import ctypes
import itertools
import os
import socket
import sys

_CLONE_NEWNET = 0x40000000
MESSAGE = bytes(range(64))


def address(number: int) -> str:
    """Return the address of a namespace."""
    return f"10.78.{(number + 1) >> 8}.{(number + 1) & 255}"


def opened(prefix: str, number: int, port: int) -> socket.socket:
    """Return a UDP socket of a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{prefix}-{number}") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(0.5)
    made.bind((address(number), port if number % 2 == 0 else 0))
    return made


def main() -> None:
    """Exchange a message within each pair, one pair after the other, until killed; print a line after two rounds."""
    prefix, pairs, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    servers = [opened(prefix, 2 * n, port) for n in range(pairs)]
    clients = [opened(prefix, 2 * n + 1, port) for n in range(pairs)]
    for n, client in enumerate(clients):
        client.connect((address(2 * n), port))
    for trip in itertools.count():
        if trip == 2:
            print("flowing", flush=True)
        for server, client in zip(servers, clients, strict=True):
            client.send(MESSAGE)
            try:
                server.sendto(*server.recvfrom(2048))
                client.recv(2048)
            except TimeoutError:  # a datagram was lost while an address was resolved
                continue


if __name__ == "__main__":
    main()
