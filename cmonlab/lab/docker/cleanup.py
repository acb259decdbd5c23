"""Remove containers, networks and interfaces of one run, or of all runs that crashed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cmonlab.system.ownership import alive

from .client import docker_errors, once_unused, unless_gone
from .labels import OWNER_LABEL, RUN_LABEL
from .macvlan_parent import remove_pairs

if TYPE_CHECKING:
    from .client import APIClient, DockerClient


def remove_run(client: DockerClient, run_id: str) -> list[str]:
    """Remove all containers, networks and interfaces of one run.

    Parameters
    ----------
    client : docker.DockerClient
    run_id : str
        Value of the label `RUN_LABEL`.

    Returns
    -------
    list of str
        What was removed, for instance ``"container cmonlab-1f-c0"``.

    Raises
    ------
    DockerError
        The engine refused.
    """
    return _remove(client, lambda labels: labels.get(RUN_LABEL) == run_id)


def clean(client: DockerClient, all: bool = False) -> list[str]:
    """Remove containers, networks and interfaces of runs whose process has ended.

    Parameters
    ----------
    client : docker.DockerClient
    all : bool
        Remove those of running processes too.

    Returns
    -------
    list of str
        What was removed, for instance ``"container cmonlab-1f-c0"``.

    Raises
    ------
    DockerError
        The engine refused.
    """
    return _remove(client, lambda labels: all or not alive(labels[OWNER_LABEL]))


def _remove(client: DockerClient, wanted: Callable[[dict[str, str]], bool]) -> list[str]:
    api = client.api
    # Not RUN_LABEL: a container that the user starts from our image inherits it.
    filters = {"label": OWNER_LABEL}
    with docker_errors("containers and networks cannot be removed"):
        containers = [found for found in api.containers(all=True, filters=filters) if wanted(found["Labels"])]
        with ThreadPoolExecutor(8, thread_name_prefix="cmonlab-remove") as pool:
            list(pool.map(lambda found: _remove_container(api, found["Id"]), containers))
        networks = [found for found in api.networks(filters=filters) if wanted(found["Labels"])]
        for network in networks:
            _remove_network(api, network["Id"])
    interfaces = remove_pairs(wanted)
    names = [found["Names"][0].lstrip("/") if found["Names"] else found["Id"] for found in containers]
    return [
        *(f"container {name}" for name in names),
        *(f"network {network['Name']}" for network in networks),
        *interfaces,
    ]


def _remove_container(api: APIClient, container: str) -> None:
    with unless_gone():
        api.remove_container(container, force=True, v=True)


def _remove_network(api: APIClient, network: str) -> None:
    with unless_gone():
        # A container of the user may have joined the network, which is removed nevertheless.
        for container in api.inspect_network(network).get("Containers") or {}:
            with unless_gone():
                api.disconnect_container_from_network(container, network, force=True)
        once_unused(lambda: api.remove_network(network))
