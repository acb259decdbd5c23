"""Windows of aggregates, received live from an agent."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Self

import numpy as np

from cmonlab.data.store import directory
from cmonlab.data.store.cells import columns_of as cell_columns
from cmonlab.errors import TransportError
from cmonlab.session.session import Session

from ..transport import Message, Transport
from . import protocol
from .window_length import LEASE_S

#: Names of interfaces and containers are requested again after so long.
_NAMES_S = 5.0
_Window = tuple[int, int, np.ndarray]


class Windows(Iterator[Session]):
    """Yields one session per window of aggregates, every second by default; a context manager.

    The session has the tables ``pairs()``, ``flows()``, ``segments()`` and ``drop_counts()``. It has no trace gaps;
    a session of `Client.record` has them.

    Parameters
    ----------
    transport : Transport
        The windows arrive over it.
    host : str
        As `protocol.host_word` returns it.
    ask : callable
        Called with the name of a request and its value; returns the agent's answer.
    every_s : float, optional
        Length of window to request, 0.1 to 1 s; by default none is requested.
    """

    def __init__(self, transport: Transport, host: str, ask: Callable[..., Any], every_s: float | None = None):
        self._ask, self._every_s = ask, every_s
        self._id, self._requested_s = uuid.uuid4().hex, time.monotonic()
        self._received: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._manifest: dict[str, Any] = {}
        self._asked_s = -_NAMES_S
        self._known: set[int] = set()
        self._parts: list[np.ndarray] = []
        if every_s is not None:
            self._request_length(every_s)
        self._subscription = transport.subscribe(protocol.subject(host, "cells"), self._received.put)
        try:
            self._refresh()
        except BaseException:
            self.close()
            raise

    def _request_length(self, every_s: float | None) -> None:
        self._ask("window", {"who": self._id, "seconds": every_s})
        self._requested_s = time.monotonic()

    @property
    def missed(self) -> int:
        """How many messages were dropped because they arrived faster than they were taken."""
        return self._subscription.missed

    def _refresh(self) -> None:
        """Request the manifest again, for the names in it."""
        self._manifest, self._asked_s = self._ask("manifest"), time.monotonic()
        self._dtype = protocol.dtype_of(self._manifest.pop("layouts")["cells"])
        self._known = {row["netns"] for row in self._manifest["links"]}

    def get(self, timeout_s: float | None = None) -> Session | None:
        """Return the next window; None when none arrived within `timeout_s`, and after `close`.

        Raises
        ------
        TransportError
            The agent does not answer any more.
        """
        window = self._next(timeout_s)
        return window and self._session(*window)

    def joined(self, least_s: float, timeout_s: float) -> Session | None:
        """Return all windows that have arrived, joined to one.

        A reader that needs longer for a window than it lasts stays up to date this way and misses nothing.

        Parameters
        ----------
        least_s : float
            Join windows until they cover this time, s. A change of rules or a recording cuts a window short,
            and a short window says little by itself.
        timeout_s : float
            How long to wait for each window, s.

        Returns
        -------
        Session or None
            None when no window arrived in time, and after `close`.

        Raises
        ------
        TransportError
            The agent does not answer any more.
        """
        windows: list[_Window] = []
        while not windows or windows[-1][1] - windows[0][0] < least_s * 1e9 or not self._received.empty():
            window = self._next(timeout_s)
            if window is None:
                break
            windows.append(window)
        if not windows:
            return None
        return self._session(windows[0][0], windows[-1][1], np.concatenate([cells for *_, cells in windows]))

    def _next(self, timeout_s: float | None) -> _Window | None:
        """Return start and end (CLOCK_MONOTONIC, ns) and the cells of the next window."""
        if self._every_s is not None and time.monotonic() - self._requested_s > LEASE_S / 3:
            self._request_length(self._every_s)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            try:
                message = self._received.get(timeout=left) if left is None or left > 0 else self._received.get_nowait()
            except queue.Empty:
                return None
            if message is None:
                return None
            self._parts.append(protocol.records_of(message.payload, self._dtype))
            if protocol.number(message.headers, "parts_left") == 0:
                cells, self._parts = np.concatenate(self._parts), []
                return protocol.number(message.headers, "start_ns"), protocol.number(message.headers, "end_ns"), cells

    def _session(self, start_ns: int, end_ns: int, cells: np.ndarray) -> Session:
        unknown = set(np.unique(cells["netns"]).tolist()) - self._known
        if unknown or time.monotonic() - self._asked_s > _NAMES_S:
            self._refresh()
        entries = self._manifest | {"workload": None, "recording": {"ended": "finished"}}
        return Session(directory.empty_columns(), entries, cell_columns([(start_ns, end_ns, cells)]))

    def __next__(self) -> Session:
        window = self.get()
        if window is None:
            raise StopIteration
        return window

    def close(self) -> None:
        """Stop following; a blocked `get` returns None. Idempotent."""
        self._subscription.close()
        self._received.put(None)
        if self._every_s is not None:
            self._every_s = None
            with suppress(TransportError):  # the agent may be gone; the request expires by itself
                self._request_length(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
