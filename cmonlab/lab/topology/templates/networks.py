"""Functions that make topologies: one per way to join containers."""

from __future__ import annotations

from ..model import Container, Network, Topology, TopologyError

#: A Linux bridge has at most 1,023 ports (BR_MAX_PORTS); some are left for the user.
MOST_ON_A_BRIDGE = 1000
#: Loopback addresses of containers are in one /24 subnet, which has 254.
MOST_ON_LOOPBACK = 250
#: Every host has a link to every other one.
MOST_HOSTS = 16


def bridge(containers: int = 2, *, image: str | None = None) -> Topology:
    """Return containers ``c0``, ``c1``, … on one Docker bridge.

    Parameters
    ----------
    containers : int
        Number of containers, 2 to 1000.
    image : str, optional
        Image of the containers; by default the workload image.

    Returns
    -------
    Topology

    Raises
    ------
    TopologyError
        The number is out of range.
    """
    _check_number("containers", containers, 2, MOST_ON_A_BRIDGE, "a Linux bridge has 1,023 ports")
    return _flat("bridge", containers, image)


def host(containers: int = 2, *, image: str | None = None) -> Topology:
    """Return containers ``c0``, ``c1``, … in the host's network namespace.

    Their traffic goes over loopback. Each has its own loopback address, by which results distinguish them; see
    docs/topologies.md.

    Parameters
    ----------
    containers : int
        Number of containers, 2 to 250.
    image : str, optional
        Image of the containers; by default the workload image.

    Returns
    -------
    Topology

    Raises
    ------
    TopologyError
        The number is out of range.
    """
    _check_number("containers", containers, 2, MOST_ON_LOOPBACK, "their addresses are one subnet of 254")
    return _flat("host", containers, image)


def macvlan(containers: int = 2, *, image: str | None = None) -> Topology:
    """Return containers ``c0``, ``c1``, … with macvlan interfaces in bridge mode.

    Parameters
    ----------
    containers : int
        Number of containers, 2 to 1000.
    image : str, optional
        Image of the containers; by default the workload image.

    Returns
    -------
    Topology

    Raises
    ------
    TopologyError
        The number is out of range.
    """
    _check_number("containers", containers, 2, MOST_ON_A_BRIDGE, "more was never tried")
    return _flat("macvlan", containers, image)


def vxlan(hosts: int = 2, containers: int = 2, *, image: str | None = None) -> Topology:
    """Return containers ``c0``, ``c1``, … on a VXLAN overlay between hosts ``h0``, ``h1``, ….

    The hosts are network namespaces of this machine. Containers are assigned to them in turn: ``c0`` is on ``h0``,
    ``c1`` on ``h1``, and so on.

    Parameters
    ----------
    hosts : int
        Number of emulated hosts, 2 to 16.
    containers : int
        Number of containers, at least one per host, at most 1000.
    image : str, optional
        Image of the containers; by default the workload image.

    Returns
    -------
    Topology

    Raises
    ------
    TopologyError
        A number is out of range.
    """
    _check_number("hosts", hosts, 2, MOST_HOSTS, "every host has a link to every other one")
    _check_number("containers", containers, hosts, MOST_ON_A_BRIDGE, "a Linux bridge has 1,023 ports")
    members = tuple(Container(f"c{number}", ("net0",), host=f"h{number % hosts}") for number in range(containers))
    parameters = (("hosts", hosts), ("containers", containers), *_named(image))
    return Topology("vxlan", members, (Network("net0", "vxlan"),), image=image, parameters=parameters)


def _flat(driver: str, containers: int, image: str | None) -> Topology:
    """Return containers on one network; the template has the name of its driver."""
    members = tuple(Container(f"c{number}", ("net0",)) for number in range(containers))
    parameters = (("containers", containers), *_named(image))
    return Topology(driver, members, (Network("net0", driver),), image=image, parameters=parameters)


def _named(image: str | None) -> tuple[tuple[str, str], ...]:
    return () if image is None else (("image", image),)


def _check_number(what: str, number: int, least: int, most: int, why_not_more: str) -> None:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TopologyError(f"{what}={number!r} is not a whole number")
    if not least <= number <= most:
        few = "traffic needs two ends" if least == 2 else "each host needs one"
        raise TopologyError(
            f"a topology of {number} {what} cannot be",
            why=few if number < least else why_not_more,
            fix=f"choose {least} to {most} {what}",
        )
