"""Remove containers, networks and interfaces: of one run, or what crashed runs left."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from . import labels as owner
from . import macvlan_parent as parent
from .client import docker_errors, once_unused, unless_gone


def remove_run(client, run_id: str) -> list[str]:
    """Remove all containers, networks and interfaces of one run; return their names."""
    return _remove(client, lambda labels: labels.get(owner.RUN_LABEL) == run_id)


def clean(client, all: bool = False) -> list[str]:
    """Remove containers, networks and interfaces of runs whose process is gone.

    Parameters
    ----------
    client : docker.DockerClient
    all : bool
        Those of running processes too.

    Returns
    -------
    list of str
        What was removed, for instance ``"container cmonlab-1f-c0"``.

    Raises
    ------
    DockerError
        The engine refused.
    """
    return _remove(client, lambda labels: all or not owner.alive(labels[owner.OWNER_LABEL]))


def _remove(client, wanted: Callable[[dict[str, str]], bool]) -> list[str]:
    api = client.api
    # Not the label of the run: a container of the user's inherits it from our image.
    filters = {"label": owner.OWNER_LABEL}
    with docker_errors("containers and networks cannot be removed"):
        containers = [found for found in api.containers(all=True, filters=filters) if wanted(found["Labels"])]
        with ThreadPoolExecutor(8, thread_name_prefix="cmonlab-remove") as pool:
            list(pool.map(lambda found: _remove_container(api, found["Id"]), containers))
        networks = [found for found in api.networks(filters=filters) if wanted(found["Labels"])]
        for network in networks:
            _remove_network(api, network["Id"])
    interfaces = parent.remove(wanted)
    names = [found["Names"][0].lstrip("/") if found["Names"] else found["Id"] for found in containers]
    return [
        *(f"container {name}" for name in names),
        *(f"network {network['Name']}" for network in networks),
        *interfaces,
    ]


def _remove_container(api, container: str) -> None:
    with unless_gone():
        api.remove_container(container, force=True, v=True)


def _remove_network(api, network: str) -> None:
    with unless_gone():
        # A container of the user's may have joined; the network goes all the same.
        for container in api.inspect_network(network).get("Containers") or {}:
            with unless_gone():
                api.disconnect_container_from_network(container, network, force=True)
        once_unused(lambda: api.remove_network(network))
