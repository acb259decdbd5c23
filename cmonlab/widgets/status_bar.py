"""The status bar at the top of the dashboard: the network's rates and, apart from them, the tracing's own state.

The status bar also limits the frame rate: the browser reports the frames that it has drawn, and a browser that is busy
gets no further frame.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import traitlets

from .script import script

_AHEAD = 2  # frames sent that the browser may not have drawn yet
_RETRY_S = 2.0  # after this time a browser that has reported nothing gets another frame

#: Name, value, tone (empty or ``warning``) and tooltip.
Item = tuple[str, str, str, str]


class StatusBar(anywidget.AnyWidget):
    """Named values in groups, and the number of the frame that the browser shows.

    Attributes
    ----------
    groups : list of (str, list of Item)
        Title and items of each group.
    frame : int
        Number of the frame that was sent last.
    seen : int
        Number of the frame that a browser has drawn last.
    skipped : int
        Frames that were not sent because the browser was busy.
    """

    _esm = script("listening", "status_bar")
    own_id = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self.own_id = self.model_id
        self.groups: list[list[Any]] = []
        self.frame = self.seen = self.skipped = 0
        self._sent_s = 0.0
        # Messages, not traits: a trait that two threads change at the same time may lose a value.
        self.on_msg(lambda _, message, __: self.receive(message))

    def receive(self, message: Mapping[str, Any]) -> None:
        """Take a browser's message: the frame that it has drawn, or -1 from a page that was just opened."""
        seen = int(message.get("seen", 0))
        self.seen = self.frame if seen < 0 else max(self.seen, min(seen, self.frame))

    def ready(self) -> bool:
        """Return whether another frame may be sent; if not, count it as skipped.

        A slow browser gets fewer frames, a browser that does not answer one every two seconds.
        """
        if self.frame - self.seen < _AHEAD or time.monotonic() - self._sent_s > _RETRY_S:
            return True
        self.skipped += 1
        return False

    def show(self, groups: Sequence[tuple[str, Sequence[Item]]]) -> None:
        """Draw the items; all figures that changed since the last call belong to the same frame.

        Each group has a title and its items.
        """
        self._sent_s = time.monotonic()
        self.groups = [[title, [list(item) for item in items]] for title, items in groups]
        self.frame += 1
        self.send({"groups": self.groups, "frame": self.frame})
