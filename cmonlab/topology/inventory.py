"""Who is who while a recording runs: namespaces and interfaces as they come and go."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from typing import Any

from . import links as netlinks
from .client import docker_errors, unless_gone
from .deploy import Lab
from .links import links

__all__ = ["Inventory", "links"]

# What goes away needs no look: its row stays as it is.
_EVENTS = {"type": ["container", "network"], "event": ["start", "connect"]}


class Inventory:
    """Names of namespaces and interfaces, from the start of a recording to its end.

    A context manager. The containers that run are taken at once; a thread follows the
    engine's events, so that a container started later is named too, and one that has
    gone stays. Namespaces are held open until `close`, so that no inode number means
    two namespaces in one recording.

    Parameters
    ----------
    lab : Lab
        Its containers carry their short names, others of the same engine Docker's, the
        root namespace ``host``.

    Attributes
    ----------
    missed : list of str
        Containers that were gone before their namespace could be read.
    error : str
        Why the event stream broke, empty while it works.
    """

    def __init__(self, lab: Lab):
        self._api = lab.client.api
        self._short = {container.id: name for name, container in lab.containers.items()}
        self._pids = {container.id: container.pid for container in lab.containers.values()}
        self._rows: dict[tuple[int, int], dict[str, Any]] = {}
        self._handles: dict[str, int] = {}
        self._taken: set[str] = set()
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._closing = False
        self._caught_up = threading.Event()
        self.missed: list[str] = []
        self.error = ""

    def __enter__(self) -> Inventory:
        try:
            self._handles["host"] = self._stack.enter_context(netlinks.namespace(os.getpid()))
            for container, pid in self._pids.items():
                self._hold(self._short[container], pid)
            with docker_errors("the engine's events cannot be followed"):
                # What starts while the stream is being opened comes again in it.
                self._stream = self._api.events(since=f"{time.time():.9f}", filters=_EVENTS, decode=True)
                for container in self._api.containers(quiet=True):
                    self._take(container["Id"])
            self._read(list(self._handles))
        except BaseException:
            self.close()
            raise
        self._thread = threading.Thread(target=self._follow, name="cmonlab-inventory", daemon=True)
        self._thread.start()
        return self

    def _hold(self, name: str, pid: int) -> str:
        """Open a container's namespace; return its key, "" when it is gone."""
        try:
            handle = self._stack.enter_context(netlinks.namespace(pid))
        except (FileNotFoundError, ProcessLookupError):
            return ""
        # A restarted container has a second namespace under the same name.
        key, number = name, 2
        while key in self._handles:
            if os.fstat(self._handles[key]).st_ino == os.fstat(handle).st_ino:
                return key
            key, number = f"{name}#{number}", number + 1
        self._handles[key] = handle
        return key

    def _take(self, container: str) -> str:
        """Take a container that has started, of the lab or not; return its key."""
        name, pid, state = self._short.get(container, container[:12]), 0, "exited"
        with unless_gone():
            data = self._api.inspect_container(container)
            name = self._short.get(container, data["Name"].lstrip("/"))
            pid, state = data["State"]["Pid"], data["State"]["Status"]
        key = self._hold(name, pid) if pid else ""
        if key:
            self._taken.add(container)
        elif state != "created" and container not in self._taken:
            self.missed.append(name)
        return key

    def _read(self, keys: Collection[str]) -> None:
        rows = netlinks.read({key: self._handles[key] for key in keys})
        with self._lock:
            for row in rows:
                row["namespace"] = row["namespace"].partition("#")[0]
                key = (row["netns"], row["ifindex"])
                known = self._rows.get(key, row)["addresses"]
                # A container that stops loses its addresses first; the packets had them.
                row["addresses"] = row["addresses"] or known
                self._rows[key] = row

    def _follow(self) -> None:
        try:
            for event in self._stream:
                started = event.get("Type") == "container"
                attributes = event.get("Actor", {}).get("Attributes", {})
                container = event["Actor"]["ID"] if started else attributes.get("container", "")
                key = self._take(container) if container else ""
                self._read({"host", key} - {""})
        except Exception as error:
            if not self._closing:
                self.error = f"{type(error).__name__}: {error}"

    def links(self) -> list[dict[str, Any]]:
        """Return the interfaces seen so far, in rows of the table ``links``.

        Returns
        -------
        list of dict
            See `cmonlab.schema`. An interface that has gone is as it was last seen.
        """
        if not self._closing:
            try:
                self._read(list(self._handles))
            except Exception as error:  # what was seen so far still names a recording
                self.error = f"{type(error).__name__}: {error}"
        with self._lock:
            return [dict(row) for row in self._rows.values()]

    def close(self) -> None:
        """Follow no more and let the namespaces go. May be called twice."""
        self._closing = True
        stream, thread = getattr(self, "_stream", None), getattr(self, "_thread", None)
        if stream is not None:
            stream.close()
        if thread is not None:
            thread.join(timeout=5)
        self._stack.close()
        self._handles.clear()

    def __exit__(self, *exception: object) -> None:
        self.close()
