"""Ctrl-C, SIGTERM and SIGHUP, put off while something must not be broken off half-way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Hold:
    """A handler that keeps signals, or while it is open hands one on."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.open = False
        # What is ignored stays ignored, and what ends the process at once still does.
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self.previous = {number: handler for number, handler in handlers.items() if callable(handler)}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.open:
            # Shut first: a second Ctrl-C must not break off what the first one starts.
            self.open = False
            self.previous[number](number, frame)
        else:
            self.pending.append(number)


_holds: list[_Hold] = []


@contextmanager
def defer_signals() -> Iterator[list[int]]:
    """Put Ctrl-C, and other signals with a handler in Python, off until the block is done.

    Yields
    ------
    list of int
        Empty until a signal came, so that the block can end early; a block that clears
        it has dealt with the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    hold = _Hold()
    _holds.append(hold)
    try:
        for number in hold.previous:
            signal.signal(number, hold)
        yield hold.pending
    finally:
        _holds.remove(hold)
        for number, handler in hold.previous.items():
            signal.signal(number, handler)
        if hold.pending:
            signal.raise_signal(hold.pending[0])


@contextmanager
def interruptible() -> Iterator[None]:
    """Within `defer_signals`, let one signal through for the length of the block.

    One that was put off before comes at once; after the first, the rest is put off again.
    """
    holds = list(_holds) if threading.current_thread() is threading.main_thread() else []
    try:
        for hold in holds:
            hold.open = True
        for hold in holds:
            if hold.pending:
                signal.raise_signal(hold.pending.pop(0))
        yield
    finally:
        for hold in holds:
            hold.open = False
