"""The processes of a workload: start a server, wait until it listens, run a client to its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Address

from cmonlab.errors import WorkloadError

from .result import LabLike, ProcessLike, Progress

_TICK_S = 0.2
_SERVER_DEADLINE_S = 15.0
# Clients end later than asked: memcaslap sleeps for a second after its load.
_GRACE_S = 15.0


def start_server(lab: LabLike, container: str, argv: Sequence[str], port: int, protocol: str = "tcp") -> None:
    """Start a server, in place of an earlier one, and wait until it listens on a port.

    Parameters
    ----------
    lab : Lab
    container : str
        Short name of the container.
    argv : sequence of str
        The server's command.
    port : int
        The port it is to listen on.
    protocol : str
        ``"tcp"`` or ``"udp"``.

    Raises
    ------
    WorkloadError
        The port is taken, the server ended, or does not listen in time; quotes its output.
    """
    lab.stop(container, f"{protocol}/{port}")
    if port in _listening(lab, container, protocol):
        raise WorkloadError(
            f"{argv[0]} in {container} cannot serve",
            why=f"another process listens on port {port} already",
            fix="choose another port",
        )
    server = lab.start(container, argv, user="nobody", service=f"{protocol}/{port}")
    deadline = time.monotonic() + _SERVER_DEADLINE_S
    while port not in _listening(lab, container, protocol):
        ended = server.wait(0.02) is not None
        if ended or time.monotonic() > deadline:
            state = f"ended with code {server.exit_code}" if ended else f"does not listen on port {port}"
            server.stop()
            raise WorkloadError(f"{argv[0]} in {container} {state}", why=server.output.strip() or "it printed nothing")


def check_server(lab: LabLike, container: str, program: str, port: int, protocol: str = "tcp") -> None:
    """Refuse the result of a client whose server ended while it ran: not every client notices.

    Parameters
    ----------
    lab : Lab
    container : str
        Short name of the container.
    program : str
        The server's name, for the message.
    port : int
        The port it listened on.
    protocol : str
        ``"tcp"`` or ``"udp"``.

    Raises
    ------
    WorkloadError
        Nothing listens on the port any more.
    """
    if port not in _listening(lab, container, protocol):
        raise WorkloadError(
            f"{program} in {container} ended while the workload ran",
            why=f"nothing listens on port {port} any more",
            fix="see whether it ran out of memory (dmesg)",
        )


def _listening(lab: LabLike, container: str, protocol: str) -> set[int]:
    # Read the socket table instead of connecting: no packet may be sent before the recording starts.
    table = lab.exec(container, ["cat", f"/proc/net/{protocol}", f"/proc/net/{protocol}6"])[1]
    return listening_ports(table, lab.source(container))


def listening_ports(table: str, address: str | None = None) -> set[int]:
    """Return the ports on which a server waits for clients.

    Parameters
    ----------
    table : str
        The text of ``/proc/net/tcp`` or ``/proc/net/udp`` (proc_net(5)).
    address : str, optional
        An IPv4 address: leave out servers that listen on other addresses only.

    Returns
    -------
    set of int
        Port numbers.
    """
    # The table shows an address as a number in the host's byte order.
    own = f"{int.from_bytes(IPv4Address(address).packed, sys.byteorder):08X}" if address else ""
    found = set()
    for row in map(str.split, table.splitlines()):
        # State 0A is TCP_LISTEN; 07 is TCP_CLOSE, the state of a UDP socket without a peer. TCP sockets in that
        # state are not in the table.
        if len(row) > 3 and row[3] in ("0A", "07"):
            local, _, port = row[1].rpartition(":")
            if local.endswith(own) or not local.strip("0"):
                found.add(int(port, 16))
    return found


def run_client(
    lab: LabLike, container: str, argv: Sequence[str], duration_s: float, progress: Progress | None
) -> tuple[ProcessLike, int, int]:
    """Run a client until it ends; stop it when interrupted.

    Parameters
    ----------
    lab : Lab
    container : str
        Short name of the container.
    argv : sequence of str
        The client's command.
    duration_s : float
        How long the client is expected to run, in s. It is stopped when it takes 15 s more.
    progress : callable or None
        Called with the seconds since the start, five times a second.

    Returns
    -------
    tuple of (process, int, int)
        The ended process; its start and end in ns of CLOCK_MONOTONIC.

    Raises
    ------
    WorkloadError
        It failed, or did not end; quotes its output.
    """
    started_ns = time.monotonic_ns()
    client = lab.start(container, argv, user="nobody")
    try:
        while client.wait(_TICK_S) is None:
            elapsed_s = (time.monotonic_ns() - started_ns) / 1e9
            if progress is not None:
                progress(min(elapsed_s, duration_s))
            if elapsed_s > duration_s + _GRACE_S:
                raise WorkloadError(
                    f"{argv[0]} in {container} did not end after {elapsed_s:.0f} s", why=client.output.strip()
                )
    finally:
        client.stop()
    ended_ns = time.monotonic_ns()
    if client.exit_code != 0:
        raise WorkloadError(
            f"{argv[0]} in {container} ended with code {client.exit_code}",
            why=client.output.strip() or "it printed nothing",
        )
    return client, started_ns, ended_ns
