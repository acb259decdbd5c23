"""How long the agent's windows of aggregates are when several clients request different lengths."""

from __future__ import annotations

import threading
import time

from cmonlab.errors import TransportError

SHORTEST_S, LONGEST_S = 0.1, 1.0
#: A request counts for so long; a client that has gone away does not renew it.
LEASE_S = 30.0


class WindowLength:
    """The window lengths that clients requested; the shortest one counts."""

    def __init__(self) -> None:
        self._requests: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def request(self, client: str, seconds: float | None) -> float:
        """Request windows of a length, in place of the client's earlier request.

        Parameters
        ----------
        client : str
            Who requests it. The request is forgotten after `LEASE_S` unless it is repeated.
        seconds : float, optional
            Length of a window, from 0.1 to 1 s; None withdraws the client's request.

        Returns
        -------
        float
            Length of the next windows, s.

        Raises
        ------
        TransportError
            `seconds` is out of range.
        """
        if seconds is not None and not SHORTEST_S <= seconds <= LONGEST_S:
            raise TransportError(
                f"an agent cannot send windows of {seconds:g} s", fix=f"ask for {SHORTEST_S:g} to {LONGEST_S:g} s"
            )
        with self._lock:
            self._requests.pop(client, None)
            if seconds is not None:
                self._requests[client] = seconds, time.monotonic() + LEASE_S
        return self.window_s

    @property
    def window_s(self) -> float:
        """Length of a window, s: the shortest that is requested, 1 s without a request."""
        with self._lock:
            now = time.monotonic()
            self._requests = {client: one for client, one in self._requests.items() if one[1] > now}
            return min((seconds for seconds, _ in self._requests.values()), default=LONGEST_S)
