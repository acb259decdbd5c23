"""Remove containers and networks: of one run, or what crashed runs left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from . import owner
from .engine import HERE, Place, connect, docker_engine, docker_errors, stop_left_over


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off until the block is done, so that removal is complete."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda number, _: pending.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous if previous is not None else signal.default_int_handler)
        if pending:
            signal.raise_signal(signal.SIGINT)


def remove_run(client, run_id: str) -> list[str]:
    """Remove all containers and networks of one run; return their names."""
    return _remove(client, lambda labels: labels.get(owner.RUN_LABEL) == run_id)


def clean(client, all: bool = False) -> list[str]:
    """Remove containers and networks of runs whose process is gone.

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


def clean_host(all: bool = False, notify: Callable[[str], None] | None = None, place: Place = HERE) -> list[str]:
    """Remove whatever crashed runs left on this host, in every engine we use.

    That is `clean` on the engine that answers and on our own, which is then stopped
    unless a process uses it. An engine of ours that died with its containers is started
    once more, because only it knows its networks.

    Returns
    -------
    list of str
        What was removed or stopped.
    """
    removed: list[str] = []
    client = connect()
    if client is not None:
        try:
            removed += clean(client, all)
        finally:
            client.close()
    own = connect(f"unix://{place.socket}")
    if own is not None:
        try:
            removed += clean(own, all)
        finally:
            own.close()
    return removed + stop_left_over(place, notify)


def _remove(client, wanted: Callable[[dict[str, str]], bool]) -> list[str]:
    api = client.api
    filters = {"label": owner.OWNER_LABEL}
    with docker_errors("containers cannot be removed"):
        found = [c for c in api.containers(all=True, filters=filters) if wanted(c["Labels"])]
        names = [c["Names"][0].lstrip("/") if c["Names"] else c["Id"] for c in found]
        with ThreadPoolExecutor(8, thread_name_prefix="cmonlab-remove") as pool:
            list(pool.map(lambda container: _remove_container(api, container["Id"]), found))
        networks = [n for n in api.networks(filters=filters) if wanted(n["Labels"])]
        for network in networks:
            _remove_network(api, network["Id"])
    return [f"container {name}" for name in names] + [f"network {network['Name']}" for network in networks]


def _remove_container(api, container: str) -> None:
    import docker

    try:
        api.remove_container(container, force=True, v=True)
    except docker.errors.NotFound:
        pass  # somebody else was faster
    except docker.errors.APIError as error:
        if "already in progress" not in str(error):
            raise


def _remove_network(api, network: str) -> None:
    import docker

    try:
        # A container of the user's may have joined; the network goes all the same.
        for container in api.inspect_network(network).get("Containers") or {}:
            api.disconnect_container_from_network(container, network, force=True)
        api.remove_network(network)
    except docker.errors.NotFound:
        pass
