"""What a workload is, and what it hands back."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Any, Protocol

from cmonlab.errors import UnknownName, WorkloadError

Progress = Callable[[float], None]
_TICK_S = 0.2
_SERVER_DEADLINE_S = 15.0
# Clients finish in their own time: memcaslap sleeps for a second after its load.
_GRACE_S = 15.0


@dataclass(frozen=True)
class WorkloadResult:
    """What a workload measured itself.

    Attributes
    ----------
    name : str
        The workload.
    parameters : dict
        With what it ran, the duration included.
    started_ns, ended_ns : int
        When its client started and ended, CLOCK_MONOTONIC.
    metrics : dict of str to float
        Read from the client's own report; units in the names.
    output : str
        That report as it was.
    """

    name: str
    parameters: dict[str, Any]
    started_ns: int
    ended_ns: int
    metrics: dict[str, float]
    output: str

    def describe(self) -> dict[str, Any]:
        """Return what JSON can hold, for a manifest."""
        return asdict(self)


class Workload(Protocol):
    """Traffic between containers, with a server to prepare and a client to run.

    Attributes
    ----------
    name : str
        As in the registry.
    default_rule : str
        A pcap expression that matches its packets.
    containers : tuple of str
        Short names of the containers it uses.
    work : (str, str)
        The metric of its results that is its throughput, per second, and a word for one
        piece of that work. Results also have the metric ``load_s``, for how long it
        worked; where it measures delays, ``latency_p50_ns``, ``latency_p99_ns`` and
        ``latency_p999_ns``.
    """

    name: str

    @property
    def work(self) -> tuple[str, str]: ...

    @property
    def default_rule(self) -> str: ...

    @property
    def containers(self) -> tuple[str, ...]: ...

    def prepare(self, lab: Any) -> None:
        """Start the servers and wait until they answer."""

    def run(self, lab: Any, duration_s: float, progress: Progress | None = None) -> WorkloadResult:
        """Run the client for about ``duration_s``."""

    def describe(self) -> dict[str, Any]:
        """Return name and parameters; JSON can hold them."""


@dataclass(frozen=True)
class ClientServer:
    """What workloads of one server and one client have in common.

    Parameters
    ----------
    server, client : str
        Short names of the containers.
    """

    server: str = "c0"
    client: str = "c1"

    @property
    def containers(self) -> tuple[str, ...]:
        """Containers it uses."""
        return (self.server, self.client)

    def describe(self) -> dict[str, Any]:
        """Return name and parameters; JSON can hold them."""
        return {"name": self.name, "parameters": asdict(self)}


def check_containers(lab: Any, names: tuple[str, ...]) -> None:
    """Refuse names that the lab does not have.

    Raises
    ------
    UnknownName
        Suggests the nearest container.
    """
    for name in names:
        if name not in lab.containers:
            raise UnknownName("container", name, lab.containers)


def check_positive(workload: str, **values: float | None) -> None:
    """Refuse parameters that are not above 0; None stands for the client's own choice.

    Raises
    ------
    WorkloadError
        Names the parameter.
    """
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value < math.inf):
            raise WorkloadError(f"{workload} cannot run with {name}={value!r}", fix=f"give {name} a number above 0")


def seconds(duration_s: float) -> int:
    """Return the whole seconds that a client is told: rounded, at least 1."""
    check_positive("a workload", duration_s=duration_s)
    return max(1, round(duration_s))


def serve(lab: Any, container: str, argv: list[str], port: int, protocol: str = "tcp") -> None:
    """Start a server, in place of an earlier one, and wait until it listens on a port.

    Raises
    ------
    WorkloadError
        The port is taken, the server ended, or does not listen in time; quotes its
        output.
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


def check_serving(lab: Any, container: str, program: str, port: int, protocol: str = "tcp") -> None:
    """Refuse when a server has gone while its client ran: not every client tells.

    Raises
    ------
    WorkloadError
        Nothing listens on its port any more.
    """
    if port not in _listening(lab, container, protocol):
        raise WorkloadError(
            f"{program} in {container} ended while the workload ran",
            why=f"nothing listens on port {port} any more",
            fix="see whether it ran out of memory (dmesg)",
        )


def _listening(lab: Any, container: str, protocol: str) -> set[int]:
    # The socket table instead of a connection: no packet before the recording starts.
    table = lab.exec(container, ["cat", f"/proc/net/{protocol}", f"/proc/net/{protocol}6"])[1]
    return listening(table, lab.source(container))


def listening(table: str, address: str | None = None) -> set[int]:
    """Return the ports that wait for a peer.

    Parameters
    ----------
    table : str
        The text of ``/proc/net/tcp`` or ``/proc/net/udp``.
    address : str, optional
        An IPv4 address: what waits on others only is left out.
    """
    # The table shows an address as a number of the host's byte order.
    own = f"{int.from_bytes(IPv4Address(address).packed, sys.byteorder):08X}" if address else ""
    found = set()
    for row in map(str.split, table.splitlines()):
        # State 0A is a listening TCP socket's, 07 that of a UDP socket without a peer; closed TCP sockets, which
        # have the same number, stand in no table.
        if len(row) > 3 and row[3] in ("0A", "07"):
            local, _, port = row[1].rpartition(":")
            if local.endswith(own) or not local.strip("0"):
                found.add(int(port, 16))
    return found


def run_client(
    lab: Any, container: str, argv: list[str], duration_s: float, progress: Progress | None
) -> tuple[Any, int, int]:
    """Run a client until it ends; stop it when interrupted.

    Returns
    -------
    tuple
        Process, start and end in ns of CLOCK_MONOTONIC.

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
