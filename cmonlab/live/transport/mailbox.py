"""A bounded queue of messages, with a thread that calls a handler for each one."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Self

_MAX_MESSAGES = 4096
_MAX_BYTES = 32 << 20
_JOIN_S = 5.0
_log = logging.getLogger("cmonlab.live.transport")


class Subscription:
    """Calls a handler for each message, until `close`.

    Parameters
    ----------
    subject : str
        Subject of the messages.
    handler : callable
        Receives each item of `put`, on the subscription's own thread.
    on_close : callable
        Called with the subscription when it is closed.

    Attributes
    ----------
    subject : str
        Subject of the messages.
    missed : int
        Number of messages that were dropped because too many waited for the handler.
    """

    def __init__(self, subject: str, handler: Callable[[Any], None], on_close: Callable[[Subscription], None]):
        self.subject, self.missed = subject, 0
        self._handler, self._on_close = handler, on_close
        self._waiting: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._open = True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"cmonlab {subject}", daemon=True)
        self._thread.start()

    def put(self, item: Any, size_bytes: int) -> None:
        """Queue an item for the handler, without waiting; the oldest items are dropped if the queue is full.

        Parameters
        ----------
        item : object
            Argument of the handler.
        size_bytes : int
            Size that counts towards the limit of the queue.
        """
        with self._changed:
            if not self._open:
                return
            self._waiting.append((item, size_bytes))
            self._bytes += size_bytes
            # The oldest are dropped: a slow handler should see what is new.
            while len(self._waiting) > _MAX_MESSAGES or self._bytes > _MAX_BYTES:
                self._bytes -= self._waiting.popleft()[1]
                self.missed += 1
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return
                item, size_bytes = self._waiting.popleft()
                self._bytes -= size_bytes
            try:
                self._handler(item)
            except Exception:
                _log.exception("the handler of %s failed", self.subject)

    def close(self) -> None:
        """Stop: drop waiting items, and wait up to 5 s for a running handler."""
        with self._changed:
            if not self._open:
                return
            self._open = False
            self._waiting.clear()
            self._changed.notify()
        self._on_close(self)
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
