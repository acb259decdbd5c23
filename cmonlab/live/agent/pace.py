"""How often an agent hands out cells, when several who look on want it differently."""

from __future__ import annotations

import threading
import time

from cmonlab.errors import TransportError

SHORTEST_S, LONGEST_S = 0.1, 1.0
LEASE_S = 30.0  # who has not asked again for so long is gone


class Pace:
    """The lengths of window that were asked for; the shortest of them counts."""

    def __init__(self) -> None:
        self._wanted: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def ask(self, who: str, seconds: float | None) -> float:
        """Ask for windows of a length, None for no matter which; return how long they are from now on.

        Parameters
        ----------
        who : str
            Has one wish at a time, which is forgotten after `LEASE_S`.
        seconds : float, optional
            From 0.1 to 1.

        Raises
        ------
        TransportError
            It is shorter or longer than that.
        """
        if seconds is not None and not SHORTEST_S <= seconds <= LONGEST_S:
            raise TransportError(
                f"windows of {seconds:g} s are not handed out", fix=f"ask for {SHORTEST_S:g} to {LONGEST_S:g} s"
            )
        with self._lock:
            self._wanted.pop(who, None)
            if seconds is not None:
                self._wanted[who] = seconds, time.monotonic() + LEASE_S
        return self.window_s

    @property
    def window_s(self) -> float:
        """Length of a window."""
        with self._lock:
            now = time.monotonic()
            self._wanted = {who: wish for who, wish in self._wanted.items() if wish[1] > now}
            return min((seconds for seconds, _ in self._wanted.values()), default=LONGEST_S)
