"""The strip at the top: how the network fares, and apart from it how the monitor does.

It also tells how well the browser keeps up: it says which frame it has drawn, so that none is
sent to one that is busy.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import anywidget
import traitlets

from .script import script

_AHEAD = 2  # frames that may be under way to a browser
_RETRY_S = 2.0  # after which one is sent to a browser that said nothing

Item = tuple[str, str, str, str]


class Strip(anywidget.AnyWidget):
    """Named values in groups, and the number of the frame that the browser has.

    Attributes
    ----------
    groups : list of (str, list of (str, str, str, str))
        Title, and its values: name, text, tone (empty, ``warning``) and a hint.
    frame : int
        The frame that was sent last.
    seen : int
        The one that a browser has drawn last.
    skipped : int
        Frames that were not sent, because the browser was busy.
    """

    _esm = script("listening", "strip")
    me = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self.me = self.model_id
        self.groups: list = []
        self.frame = self.seen = self.skipped = 0
        self._sent_s = 0.0
        # Messages and not traits: traits that two threads change at a time may be lost.
        self.on_msg(lambda _, message, __: self.hear(message))

    def hear(self, message: dict) -> None:
        """Take a browser's word: which frame it has drawn, or that it has just come (-1)."""
        seen = int(message.get("seen", 0))
        self.seen = self.frame if seen < 0 else max(self.seen, min(seen, self.frame))

    def ready(self) -> bool:
        """Tell whether another frame may be sent; if not, it counts as skipped.

        A browser that is slow gets fewer frames, one that is not there one every two seconds.
        """
        if self.frame - self.seen < _AHEAD or time.monotonic() - self._sent_s > _RETRY_S:
            return True
        self.skipped += 1
        return False

    def show(self, groups: Sequence[tuple[str, Sequence[Item]]]) -> None:
        """Draw values; what was drawn since the last call belongs to the same frame."""
        self._sent_s = time.monotonic()
        self.groups = [[title, [list(item) for item in items]] for title, items in groups]
        self.frame += 1
        self.send({"groups": self.groups, "frame": self.frame})
