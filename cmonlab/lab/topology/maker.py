"""Makes the networks and containers of a topology, one at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmonlab.system.ownership import me

from ..docker.client import docker_errors
from ..docker.labels import ADDRESS_LABEL, NAME_LABEL, OWNER_LABEL, RUN_LABEL
from ..docker.macvlan_parent import make_pair, parent_name
from ..docker.running import Running, describe_network, inspect
from . import overlay
from .addresses import plan
from .model import Container, Network, Topology

if TYPE_CHECKING:
    from ..docker.client import DockerClient

# Process 1 of a container: reaps orphaned processes and ends at once on SIGTERM.
_IDLE = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 86400 & wait $!; done"]
_IPV6 = Path("/proc/sys/net/ipv6")
# Without IPv6 the interfaces that we make send nothing by themselves.
_NO_IPV6 = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"}


class Maker:
    """Makes the networks and containers of one run.

    Parameters
    ----------
    client : docker.DockerClient
    topology : Topology
    image : str
        Tag of the containers' image.
    run_id : str
        Part of the name of everything it makes.

    Attributes
    ----------
    plan : Plan
        Addresses that the engine does not assign.

    Raises
    ------
    DockerError
        The engine does not answer, or no subnet is free.
    """

    def __init__(self, client: DockerClient, topology: Topology, image: str, run_id: str):
        self._client, self._topology, self._image, self._run_id = client, topology, image, run_id
        self._labels = {RUN_LABEL: run_id, OWNER_LABEL: me()}
        self._drivers = {network.name: network.driver for network in topology.networks}
        self.plan = plan(topology, self._given())

    def _given(self) -> list[str]:
        """Return the addresses that other labs of this engine have assigned."""
        with docker_errors("the engine's containers cannot be read"):
            found = self._client.api.containers(all=True, filters={"label": ADDRESS_LABEL})
        return [address for one in found for address in one["Labels"][ADDRESS_LABEL].split()]

    def docker_name(self, name: str) -> str:
        """Return Docker's name of a network or container of this run."""
        return f"cmonlab-{self._run_id}-{name}"

    def _parent(self, network: str) -> str:
        return parent_name(self._run_id, list(self._drivers).index(network))

    # ---- networks ----------------------------------------------------------

    def network(self, network: Network) -> None:
        """Make a network, if its driver is one of the engine's.

        Raises
        ------
        DockerError
            The engine or the kernel refused.
        """
        options = {}
        if network.driver == "macvlan":
            options["parent"] = self._parent(network.name)
            make_pair(options["parent"], self._labels)
        if network.driver in ("bridge", "macvlan"):
            with docker_errors(f"network {network.name} cannot be made"):
                # The engine chooses a subnet that no route of the host covers.
                self._client.api.create_network(
                    self.docker_name(network.name), driver=network.driver, options=options, labels=self._labels
                )

    def describe_networks(self) -> list[dict[str, Any]]:
        """Return the networks' entries in a manifest; see `cmonlab.lab.docker.running.describe_network`.

        Raises
        ------
        DockerError
            The engine does not answer.
        """
        with docker_errors("the networks cannot be read"):
            found = self._client.api.networks(filters={"label": f"{RUN_LABEL}={self._run_id}"})
        engines = {one["name"]: one for one in (describe_network(data, self.docker_name("")) for data in found)}
        return [engines.get(name) or self._describe_own(name) for name in self._drivers]

    def _describe_own(self, network: str) -> dict[str, Any]:
        if self._drivers[network] == "vxlan":
            return overlay.describe(self._topology, self.plan, network)
        return {"name": network, "driver": "host", "subnets": [str(self.plan.subnets[network])]}

    # ---- containers --------------------------------------------------------

    def container(self, container: Container) -> Running:
        """Start a container.

        Raises
        ------
        DockerError
            The engine refused, or the container ended at once.
        """
        drivers = {self._drivers[name] for name in container.networks}
        engines = [] if drivers & {"host", "vxlan"} else [self.docker_name(name) for name in container.networks]
        mode = "host" if "host" in drivers else engines[0] if engines else "none"
        return self._start(container.name, mode, engines, self.plan.known_to(self._topology, container.name))

    def host(self, name: str) -> Running:
        """Start the container that holds the namespace of an emulated host.

        Because it is a container, it is in the engine's list, and `Inventory` and `clean` know it.

        Raises
        ------
        DockerError
            The engine refused, or the container ended at once.
        """
        return self._start(name, "none", [], {})

    def _start(self, name: str, mode: str, networks: list[str], known: dict[str, str]) -> Running:
        api, own = self._client.api, self.plan.of(name)
        labels = self._labels | {NAME_LABEL: name} | ({ADDRESS_LABEL: " ".join(own)} if own else {})
        sysctls = _NO_IPV6 if own and mode == "none" and _IPV6.exists() else None
        with docker_errors(f"container {name} cannot be started"):
            endpoint = {mode: api.create_endpoint_config(aliases=[name])}
            created = api.create_container(
                self._image,
                _IDLE,
                name=self.docker_name(name),
                hostname=name,
                labels=labels,
                host_config=api.create_host_config(
                    network_mode=mode,
                    log_config={"Type": "none"},  # type: ignore[arg-type]  # the stubs lack dict
                    extra_hosts=known,
                    sysctls=sysctls,
                ),
                # The stubs want one endpoint instead of a dict.
                networking_config=api.create_networking_config(endpoint) if networks else None,  # type: ignore[arg-type]
            )
            for network in networks[1:]:
                api.connect_container_to_network(created["Id"], network, aliases=[name])
            # The engine answers once the process runs and its networks are set up.
            api.start(created["Id"])
            running = inspect(name, api.inspect_container(created["Id"]), networks)
        return replace(running, addresses=own, wired=mode == "none") if own else running
