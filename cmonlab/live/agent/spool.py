"""A queue between the ring's reader, which must not wait, and the transport, which may."""

from __future__ import annotations

import logging
import threading
from collections import deque

import numpy as np

from cmonlab.errors import TransportError

from ..transport import Transport
from . import protocol

_log = logging.getLogger(__name__)
_MOST_BYTES = 64 << 20
_GATHER_S = 0.05


class Spool:
    """Sends events and cells to the agent's stream, in order, from its own thread.

    Parameters
    ----------
    transport : Transport
        Has a stream for the agent's events and cells.
    host : str
        As `protocol.host_word` returns it.

    Attributes
    ----------
    dropped : dict of str to int
        ``events`` and ``cells`` → how many were lost, because the queue was full or the transport refused them.
    """

    def __init__(self, transport: Transport, host: str):
        self._transport = transport
        self._subjects = {word: protocol.subject(host, word) for word in ("events", "cells")}
        self._queue: deque[tuple[str, dict[str, str], np.ndarray]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._sending = self._closing = False
        self.dropped = dict.fromkeys(self._subjects, 0)
        self._thread = threading.Thread(target=self._send_until_closed, name="cmonlab-spool", daemon=True)
        self._thread.start()

    def events(self, cpu: int, records: np.ndarray) -> None:
        """Queue events of one CPU.

        Parameters
        ----------
        cpu : int
            Number of the CPU.
        records : numpy.ndarray
            The kernel's records, shape ``(events,)``.
        """
        self._put("events", {"cpu": str(cpu)}, records)

    def cells(self, start_ns: int, end_ns: int, cells: np.ndarray) -> None:
        """Queue the cells of a window.

        Parameters
        ----------
        start_ns, end_ns : int
            The window, CLOCK_MONOTONIC in ns.
        cells : numpy.ndarray
            The kernel's cells, shape ``(cells,)``.
        """
        self._put("cells", {"start_ns": str(start_ns), "end_ns": str(end_ns)}, cells)

    def _put(self, word: str, headers: dict[str, str], records: np.ndarray) -> None:
        with self._changed:
            if self._bytes + records.nbytes > _MOST_BYTES or self._closing:
                self.dropped[word] += len(records)
                return
            self._queue.append((word, headers, records))
            self._bytes += records.nbytes
            self._changed.notify_all()

    def _send_until_closed(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                # Wait a moment to send more at once: the number of messages costs more than their bytes.
                self._changed.wait_for(lambda: self._closing or self._bytes >= protocol.BATCH_BYTES, _GATHER_S)
                taken, self._queue, self._bytes = self._queue, deque(), 0
                self._sending = True
            for word, headers, records in _joined(taken):
                self._send(word, headers, records)
            with self._changed:
                self._sending = False
                self._changed.notify_all()

    def _send(self, word: str, headers: dict[str, str], records: np.ndarray) -> None:
        try:
            parts = list(protocol.batches(records))
            for left, payload in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
                self._transport.publish_to_stream(self._subjects[word], payload, headers | {"parts_left": str(left)})
        except TransportError as error:
            _log.warning("%s of %d records: %s", word, len(records), error)
            with self._changed:
                self.dropped[word] += len(records)

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until the stream has stored everything that was queued; return its last sequence number.

        `timeout_s` is for the queue, and again for the stream.

        Raises
        ------
        TransportError
            It was not stored in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._queue and not self._sending, timeout_s):
                raise TransportError(f"the data was not sent within {timeout_s:g} s", fix="check the NATS server")
        return self._transport.flush(timeout_s)

    def close(self) -> None:
        """Send what is left and stop; idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()


def _joined(taken: deque[tuple[str, dict[str, str], np.ndarray]]) -> list[tuple[str, dict[str, str], np.ndarray]]:
    """Join the events of each CPU, in their order."""
    groups: dict[str, list[np.ndarray]] = {}
    rest = []
    for word, headers, records in taken:
        if word == "events":
            groups.setdefault(headers["cpu"], []).append(records)
        else:
            rest.append((word, headers, records))
    return [("events", {"cpu": cpu}, np.concatenate(parts)) for cpu, parts in groups.items()] + rest
