"""A bounded queue with a thread that works it off."""

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
    """A handler that is being called, until `close`.

    Attributes
    ----------
    subject : str
    missed : int
        Messages dropped because too many waited for the handler.
    """

    def __init__(self, subject: str, work: Callable[[Any], None], closed: Callable[[Subscription], None]):
        self.subject, self.missed = subject, 0
        self._work, self._on_close = work, closed
        self._waiting: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._open = True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"cmonlab {subject}", daemon=True)
        self._thread.start()

    def put(self, item: Any, size_bytes: int) -> None:
        """Queue something for the thread; never waits."""
        with self._changed:
            if not self._open:
                return
            self._waiting.append((item, size_bytes))
            self._bytes += size_bytes
            # The oldest go: who is behind wants to see what is now.
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
                self._work(item)
            except Exception:
                _log.exception("the handler of %s failed", self.subject)

    def close(self) -> None:
        """Stop; what waits is dropped, and a handler that runs has up to 5 s to return."""
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
