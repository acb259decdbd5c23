"""The engine's events without a gap: a stream that breaks is opened again where it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .client import docker_errors

if TYPE_CHECKING:
    from .client import APIClient

_FILTERS = {
    "type": ["container", "network"],
    "event": ["start", "die", "destroy", "rename", "connect", "disconnect"],
}
_LONGEST_PAUSE_S = 5.0


class Events:
    """Follows the events of containers and networks in a thread.

    Parameters
    ----------
    api : docker.APIClient
    on_event : callable
        Called in the thread with each event, as the engine describes it (Docker Engine API, ``GET /events``).
    on_resume : callable
        Called in the thread when the stream was broken and is open again. Events may be missing: an engine keeps few
        old events, and none when it was restarted.

    Attributes
    ----------
    error : str
        Why the stream is broken, empty while it works.
    """

    def __init__(self, api: APIClient, on_event: Callable[[dict[str, Any]], None], on_resume: Callable[[], None]):
        self.error = ""
        self._api, self._on_event, self._on_resume = api, on_event, on_resume
        self._last_ns = time.time_ns()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._run, name="cmonlab-docker", daemon=True)

    def open(self) -> None:
        """Open the stream; from now on no event is missed.

        Raises
        ------
        DockerError
            The engine does not answer.
        """
        since_ns = self._last_ns + 1
        since = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
        with docker_errors("the engine's events cannot be followed"):
            stream = self._api.events(since=since, filters=_FILTERS, decode=True)  # type: ignore[call-overload]  # the stubs lack str
        with self._lock:
            self._stream = stream
            if self._closing.is_set():
                stream.close()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _run(self) -> None:
        self._follow()
        pause_s = 0.1
        while not self._closing.wait(pause_s):
            try:
                self.open()
                self._on_resume()
            except Exception as error:  # the engine may be starting again
                self.error = f"{type(error).__name__}: {error}"
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            self.error, pause_s = "", 0.1
            self._follow()

    def _follow(self) -> None:
        """Pass events on until the stream breaks."""
        try:
            for event in self._stream:
                self._last_ns = max(self._last_ns, event.get("timeNano", 0))
                self._on_event(event)
            why = "the engine ended the stream of its events"
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if not self._closing.is_set():
            self.error = why

    def close(self) -> None:
        """Close the stream and end the thread. Idempotent."""
        self._closing.set()
        with self._lock:
            if self._stream is not None:
                self._stream.close()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)
