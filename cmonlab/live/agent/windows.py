"""What rules of mode aggregate measure, window by window, as it comes."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Self

import numpy as np

from cmonlab.data.store import cells as _cells
from cmonlab.data.store import directory as store
from cmonlab.errors import TransportError
from cmonlab.session.session import Session

from ..transport import Message, Transport
from . import protocol as wire
from .pace import LEASE_S

_NAMES_S = 5.0
_Window = tuple[int, int, np.ndarray]


class Windows(Iterator[Session]):
    """One session a window, a second by default, that holds its aggregates; a context manager.

    Its tables are those of any session: ``pairs()``, ``flows()``, ``segments()``,
    ``drop_counts()``. It has no trace gaps: those are in what `Client.record` brings home.

    Parameters
    ----------
    transport : Transport
    host : str
    ask : callable
        Takes a word and a question, and returns the agent's answer.
    every_s : float, optional
        As `Client.windows` has it.

    Attributes
    ----------
    missed : int
        Messages that came faster than they were taken.
    """

    def __init__(self, transport: Transport, host: str, ask: Callable[..., Any], every_s: float | None = None):
        self._ask, self._every_s = ask, every_s
        self._who, self._wished_s = uuid.uuid4().hex, time.monotonic()
        self._coming: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._manifest: dict[str, Any] = {}
        self._asked_s = -_NAMES_S
        self._known: set[int] = set()
        self._parts: list[np.ndarray] = []
        if every_s is not None:
            self._wish(every_s)
        self._subscription = transport.subscribe(wire.subject(host, "cells"), self._coming.put)
        try:
            self._refresh()
        except BaseException:
            self.close()
            raise

    def _wish(self, every_s: float | None) -> None:
        self._ask("window", {"who": self._who, "seconds": every_s})
        self._wished_s = time.monotonic()

    @property
    def missed(self) -> int:
        return self._subscription.missed

    def _refresh(self) -> None:
        """Ask for the names anew."""
        self._manifest, self._asked_s = self._ask("manifest"), time.monotonic()
        self._dtype = wire.dtype_of(self._manifest.pop("layouts")["cells"])
        self._known = {row["netns"] for row in self._manifest["links"]}

    def get(self, timeout_s: float | None = None) -> Session | None:
        """Return the next window, None when none came in time or after `close`.

        Raises
        ------
        TransportError
            The agent does not answer any more.
        """
        window = self._next(timeout_s)
        return window and self._session(*window)

    def joined(self, least_s: float, timeout_s: float) -> Session | None:
        """Return all that has come as one window, None when none came in time or after `close`.

        Who takes longer over a window than it lasts stays up to date so, and misses nothing.

        Parameters
        ----------
        least_s : float
            Join windows until they cover this much: those that a change of rules or a recording
            cuts short say little by themselves.
        timeout_s : float
            How long to wait for each.

        Raises
        ------
        TransportError
            The agent does not answer any more.
        """
        windows: list[_Window] = []
        while not windows or windows[-1][1] - windows[0][0] < least_s * 1e9 or not self._coming.empty():
            window = self._next(timeout_s)
            if window is None:
                break
            windows.append(window)
        if not windows:
            return None
        return self._session(windows[0][0], windows[-1][1], np.concatenate([cells for *_, cells in windows]))

    def _next(self, timeout_s: float | None) -> _Window | None:
        """Return start and end (ns) and the cells of the next window."""
        if self._every_s is not None and time.monotonic() - self._wished_s > LEASE_S / 3:
            self._wish(self._every_s)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            try:
                message = self._coming.get(timeout=left) if left is None or left > 0 else self._coming.get_nowait()
            except queue.Empty:
                return None
            if message is None:
                return None
            self._parts.append(wire.records_of(message.payload, self._dtype))
            if wire.number(message.headers, "parts_left") == 0:
                cells, self._parts = np.concatenate(self._parts), []
                return wire.number(message.headers, "start_ns"), wire.number(message.headers, "end_ns"), cells

    def _session(self, start_ns: int, end_ns: int, cells: np.ndarray) -> Session:
        strangers = set(np.unique(cells["netns"]).tolist()) - self._known
        if strangers or time.monotonic() - self._asked_s > _NAMES_S:
            self._refresh()
        entries = self._manifest | {"workload": None, "recording": {"ended": "finished"}}
        return Session(store.empty_columns(), entries, _cells.columns_of([(start_ns, end_ns, cells)]))

    def __next__(self) -> Session:
        window = self.get()
        if window is None:
            raise StopIteration
        return window

    def close(self) -> None:
        """Follow no more; a blocked `get` returns None. May be called twice."""
        self._subscription.close()
        self._coming.put(None)
        if self._every_s is not None:
            self._every_s = None
            with suppress(TransportError):  # the agent may be gone, and forgets it by itself
                self._wish(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
