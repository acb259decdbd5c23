"""A ping-pong of messages of 64 bytes, one at a time: ``python pingpong.py server|client udp|tcp HOST PORT``.

sockperf does the same, but takes 10 MB of memory for every second that it is to run.
Imports nothing but the standard library, so that it starts at once.
"""

import socket
import sys

MESSAGE = bytes(range(64))


def serve(kind: socket.SocketKind, address: tuple[str, int]) -> None:
    """Send every message back until killed."""
    with socket.socket(socket.AF_INET, kind) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        if kind == socket.SOCK_DGRAM:
            while True:
                listener.sendto(*listener.recvfrom(2048))
        listener.listen()
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while message := connection.recv(2048):
            connection.sendall(message)


def load(kind: socket.SocketKind, address: tuple[str, int]) -> None:
    """Send messages and wait for each to come back, until killed; a lost datagram is sent again."""
    with socket.socket(socket.AF_INET, kind) as connection:
        connection.connect(address)
        if kind == socket.SOCK_STREAM:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            connection.settimeout(0.1)
        while True:
            connection.send(MESSAGE)
            try:
                connection.recv(2048)
            except TimeoutError:
                continue


if __name__ == "__main__":
    role, protocol, host, port = sys.argv[1:]
    kinds = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
    {"server": serve, "client": load}[role](kinds[protocol], (host, int(port)))
