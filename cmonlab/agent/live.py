"""What rules of mode aggregate measure, window by window, as it comes."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from .. import cells as _cells
from .. import store
from ..session import Session
from ..transport import Message, Transport
from . import wire

_NAMES_S = 5.0


class Windows(Iterator[Session]):
    """One session a second that holds that second's aggregates; a context manager.

    Its tables are those of any session: ``pairs()``, ``flows()``, ``segments()``,
    ``drop_counts()``.

    Parameters
    ----------
    transport : Transport
    host : str
    manifest : callable
        Asks the agent for its manifest.

    Attributes
    ----------
    missed : int
        Messages that came faster than they were taken.
    """

    def __init__(self, transport: Transport, host: str, manifest: Callable[[], dict[str, Any]]):
        self._ask = manifest
        self._coming: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._manifest: dict[str, Any] = {}
        self._asked_s = -_NAMES_S
        self._known: set[int] = set()
        self._parts: list[np.ndarray] = []
        self._subscription = transport.subscribe(wire.subject(host, "cells"), self._coming.put)
        self._refresh()

    @property
    def missed(self) -> int:
        return self._subscription.missed

    def _refresh(self) -> None:
        """Ask for the names anew."""
        self._manifest, self._asked_s = self._ask(), time.monotonic()
        self._dtype = wire.dtype_of(self._manifest.pop("layouts")["cells"])
        self._known = {row["netns"] for row in self._manifest["links"]}

    def get(self, timeout_s: float | None = None) -> Session | None:
        """Return the next window, None when none came in time or after `close`.

        Raises
        ------
        TransportError
            The agent does not answer any more.
        """
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
                return self._window(message)

    def _window(self, last: Message) -> Session:
        cells, self._parts = np.concatenate(self._parts), []
        strangers = set(np.unique(cells["netns"]).tolist()) - self._known
        if strangers or time.monotonic() - self._asked_s > _NAMES_S:
            self._refresh()
        window = (wire.number(last.headers, "start_ns"), wire.number(last.headers, "end_ns"), cells)
        entries = self._manifest | {"workload": None, "recording": {"ended": "finished"}}
        return Session(store.empty_columns(), entries, _cells.columns_of([window]))

    def __next__(self) -> Session:
        window = self.get()
        if window is None:
            raise StopIteration
        return window

    def close(self) -> None:
        """Follow no more; a blocked `get` returns None. May be called twice."""
        self._subscription.close()
        self._coming.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
