"""Deferred signals: Ctrl-C, SIGTERM and SIGHUP wait while a block of code must not be interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Deferral:
    """Signal handler that stores signals; while it is open, it passes one on to the previous handler."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.open = False
        # Only handlers in Python are replaced: ignored signals stay ignored, and fatal ones stay fatal.
        handlers = {int(number): signal.getsignal(number) for number in SIGNALS}
        self.previous = {number: handler for number, handler in handlers.items() if callable(handler)}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.open:
            # Closed first: a second Ctrl-C must not interrupt the handling of the first one.
            self.open = False
            self.previous[number](number, frame)
        else:
            self.pending.append(number)


_deferrals: list[_Deferral] = []


@contextmanager
def defer_signals() -> Iterator[list[int]]:
    """Defer Ctrl-C, and other signals with a handler in Python, until the block ends.

    In another thread than the main one, which gets no signals, the block simply runs.

    Yields
    ------
    list of int
        Numbers of the deferred signals, empty at first. The block may end early if there is one; if it clears the
        list, the signals count as handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    deferral = _Deferral()
    _deferrals.append(deferral)
    try:
        for number in deferral.previous:
            signal.signal(number, deferral)
        yield deferral.pending
    finally:
        _deferrals.remove(deferral)
        for number, handler in deferral.previous.items():
            signal.signal(number, handler)
        if deferral.pending:
            signal.raise_signal(deferral.pending[0])


@contextmanager
def interruptible() -> Iterator[None]:
    """Let one signal through for the duration of the block, inside of `defer_signals`.

    A signal that was deferred before is raised at once; after one signal, others are deferred again.
    """
    deferrals = list(_deferrals) if threading.current_thread() is threading.main_thread() else []
    try:
        for deferral in deferrals:
            deferral.open = True
        for deferral in deferrals:
            if deferral.pending:
                signal.raise_signal(deferral.pending.pop(0))
        yield
    finally:
        for deferral in deferrals:
            deferral.open = False
