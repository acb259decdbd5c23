"""Workloads of one server and one client.

A workload of this kind says which commands to run and how to read the client's report; starting, waiting, stopping and
measuring are the same for all of them and are done here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

from cmonlab.errors import UnknownName, WorkloadError

from .processes import check_server, run_client, start_server
from .result import LabLike, Progress, WorkloadResult


@dataclass(frozen=True)
class ClientServer(ABC):
    r"""A server in one container and a client in another one.

    Parameters
    ----------
    server, client : str
        Short names of the containers.

    Examples
    --------
    HTTP requests by wrk, in an image that has busybox and wrk::

        @dataclass(frozen=True)
        class Http(ClientServer):
            port: int = 8080

            name: ClassVar[str] = "http"
            work: ClassVar[tuple[str, str]] = ("requests_per_s", "request")

            @property
            def endpoint(self):
                return "tcp", self.port

            def server_argv(self, address):
                return ["busybox", "httpd", "-f", "-p", f"{address}:{self.port}", "-h", "/etc"]

            def client_argv(self, address, duration_s, source=None):
                return ["wrk", "-t", "1", "-c", "4", "-d", f"{duration_s}s", f"http://{address}:{self.port}/hosts"]

            def parse(self, output):
                requests = int(re.search(r"(\d+) requests in", output)[1])
                per_s = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
                return {"requests_per_s": per_s, "load_s": requests / per_s}
    """

    server: str = "c0"
    client: str = "c1"

    @property
    @abstractmethod
    def name(self) -> str:
        """As in the registry."""

    @property
    @abstractmethod
    def work(self) -> tuple[str, str]:
        """The metric that is its throughput, per second, and a word for one operation."""

    @property
    @abstractmethod
    def endpoint(self) -> tuple[str, int]:
        """``"tcp"`` or ``"udp"``, and the port: the server is ready when it listens there."""

    @abstractmethod
    def server_argv(self, address: str) -> list[str]:
        """Return the server's command; the server listens on this IP address."""

    @abstractmethod
    def client_argv(self, address: str, duration_s: int, source: str | None = None) -> list[str]:
        """Return the client's command.

        Parameters
        ----------
        address : str
            IP address of the server.
        duration_s : int
            How long to run, in s.
        source : str, optional
            IP address that the client has to send from; None: any.
        """

    @abstractmethod
    def parse(self, output: str) -> dict[str, float]:
        """Return the metrics in the client's standard output.

        Raises
        ------
        WorkloadError
            The output is no report, or the report says that nothing was done.
        """

    @property
    def default_rule(self) -> str:
        """A pcap expression (pcap-filter(7)) that matches every packet of the server's port."""
        protocol, port = self.endpoint
        return f"{protocol} port {port}"

    @property
    def containers(self) -> tuple[str, ...]:
        """Short names of the containers it uses."""
        return (self.server, self.client)

    def describe(self) -> dict[str, Any]:
        """Return name and parameters as a dict that JSON can hold."""
        return {"name": self.name, "parameters": asdict(self)}

    def prepare(self, lab: LabLike) -> None:
        """Start the server and wait until it listens.

        Raises
        ------
        UnknownName
            The lab has no such container.
        WorkloadError
            The port is taken, or the server does not start; quotes its output.
        """
        check_containers(lab, self.containers)
        protocol, port = self.endpoint
        start_server(lab, self.server, self.server_argv(lab.address(self.server)), port, protocol)

    def run(self, lab: LabLike, duration_s: float, progress: Progress | None = None) -> WorkloadResult:
        """Run the client and read its report.

        Parameters
        ----------
        lab : Lab
            Deployed containers; `prepare` has started the server.
        duration_s : float
            How long the client runs, in s; rounded to whole seconds, at least 1.
        progress : callable, optional
            Called with the seconds since the start, five times a second.

        Returns
        -------
        WorkloadResult
            Its ``metrics`` are listed at the workload's class.

        Raises
        ------
        UnknownName
            The lab has no such container.
        WorkloadError
            The client failed (quotes its output), or the server ended.
        """
        check_containers(lab, self.containers)
        whole_s = whole_seconds(duration_s)
        address = lab.address(self.server)
        argv = self.client_argv(address, whole_s, lab.source(self.client))
        client, started_ns, ended_ns = run_client(lab, self.client, argv, whole_s, progress)
        protocol, port = self.endpoint
        check_server(lab, self.server, self.server_argv(address)[0], port, protocol)
        parameters = asdict(self) | {"duration_s": whole_s}
        return WorkloadResult(self.name, parameters, started_ns, ended_ns, self.parse(client.stdout), client.output)


def check_containers(lab: LabLike, names: tuple[str, ...]) -> None:
    """Refuse names that the lab does not have.

    Parameters
    ----------
    lab : Lab
    names : tuple of str
        Short names of containers.

    Raises
    ------
    UnknownName
        Suggests the nearest container.
    """
    for name in names:
        if name not in lab.containers:
            raise UnknownName("container", name, lab.containers)


def check_positive(workload: str, **values: object) -> None:
    """Refuse parameters that are not numbers above 0; None means the client's default.

    Parameters
    ----------
    workload : str
        Its name, for the message.
    **values
        Parameters by name.

    Raises
    ------
    WorkloadError
        Names the parameter.
    """
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool) or not (isinstance(value, int | float) and 0 < value < math.inf):
            raise WorkloadError(f"{workload} cannot run with {name}={value!r}", fix=f"give {name} a number above 0")


def whole_seconds(duration_s: float) -> int:
    """Return a duration in whole seconds, at least 1: the clients take no fractions.

    Raises
    ------
    WorkloadError
        It is not a number above 0.
    """
    check_positive("a workload", duration_s=duration_s)
    return max(1, round(duration_s))
