"""What a workload is, what it needs from a lab, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

#: Called with the seconds since the client started.
Progress = Callable[[float], None]


class ProcessLike(Protocol):
    """A command that runs in a container; `cmonlab.lab.docker.process.Process` is one."""

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while the command runs."""

    @property
    def stdout(self) -> str:
        """Standard output so far."""

    @property
    def output(self) -> str:
        """Standard output and standard error so far."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until the command ends, or for a time in s; return its exit code, None while it runs."""

    def stop(self) -> None:
        """End the command."""


class LabLike(Protocol):
    """What a workload needs from a lab; `cmonlab.lab.topology.deploy.Lab` is one."""

    @property
    def containers(self) -> Mapping[str, object]:
        """Containers by short name."""

    def address(self, name: str) -> str:
        """Return a container's first IP address."""

    def source(self, name: str) -> str | None:
        """Return the address that a container's programs have to send from, None if any will do."""

    def exec(self, name: str, argv: Sequence[str], user: str | None = None) -> tuple[int, str]:
        """Run a command in a container until it ends; return its exit code and standard output.

        Parameters
        ----------
        name : str
            Short name of the container.
        argv : sequence of str
            The command.
        user : str, optional
            Run as this user, by default root.
        """

    def start(self, name: str, argv: Sequence[str], user: str | None = None, service: str | None = None) -> ProcessLike:
        """Start a command in a container and return at once.

        Parameters
        ----------
        name : str
            Short name of the container.
        argv : sequence of str
            The command.
        user : str, optional
            Run as this user, by default root.
        service : str, optional
            A name by which `stop` finds the command.
        """

    def stop(self, name: str, service: str) -> None:
        """Stop the command that `start` was given this service name for, if there is one.

        Parameters
        ----------
        name : str
            Short name of the container.
        service : str
            The name that `start` was given.
        """


@dataclass(frozen=True)
class WorkloadResult:
    """What a workload measured itself.

    Attributes
    ----------
    name : str
        The workload.
    parameters : dict
        The parameters it ran with, and ``duration_s``.
    started_ns, ended_ns : int
        When its client started and ended, in ns of CLOCK_MONOTONIC.
    metrics : dict of str to float
        Read from the client's own report; the names contain the units.
    output : str
        That report, unchanged.
    """

    name: str
    parameters: dict[str, Any]
    started_ns: int
    ended_ns: int
    metrics: dict[str, float]
    output: str

    def describe(self) -> dict[str, Any]:
        """Return all attributes as a dict that JSON can hold, for a manifest."""
        return asdict(self)


class Workload(Protocol):
    """Traffic between containers: a server to prepare and a client to run.

    Any class with these members can be given to `cmonlab.record`. Workloads of one server and one client
    derive from `cmonlab.lab.workload.client_server.ClientServer`.

    Attributes
    ----------
    name : str
        As in the registry.
    default_rule : str
        A pcap expression (pcap-filter(7)) that matches its packets.
    containers : tuple of str
        Short names of the containers it uses.
    work : (str, str)
        The metric that is its throughput, per second, and a word for one operation. Results also have the
        metric ``load_s``, the time in s that it worked, and, if it measures latencies, ``latency_p50_ns``,
        ``latency_p99_ns`` and ``latency_p999_ns``.
    """

    @property
    def name(self) -> str: ...

    @property
    def work(self) -> tuple[str, str]: ...

    @property
    def default_rule(self) -> str: ...

    @property
    def containers(self) -> tuple[str, ...]: ...

    def prepare(self, lab: LabLike) -> None:
        """Start the servers and wait until they answer."""

    def run(self, lab: LabLike, duration_s: float, progress: Progress | None = None) -> WorkloadResult:
        """Run the client.

        Parameters
        ----------
        lab : Lab
            Deployed containers.
        duration_s : float
            How long to run, in s; a workload may round it.
        progress : callable, optional
            Called with the seconds since the start.

        Returns
        -------
        WorkloadResult
        """

    def describe(self) -> dict[str, Any]:
        """Return name and parameters as a dict that JSON can hold."""
