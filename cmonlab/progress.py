"""Progress of long work: a bar with a phrase and the time left, on a terminal and in a notebook."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

#: Is told a phrase and a fraction from 0 to 1.
Tell = Callable[[str, float], None]
#: None: a bar where somebody looks on; False: none; a callable: that one.
Progress = Tell | Literal[False] | None

#: The phrase to tell when work was broken off, but has something to hand back.
INTERRUPTED = "interrupted"

_EVERY_S = 0.2
_CELLS = 24


@contextmanager
def shown(progress: Progress = None, title: str = "") -> Iterator[Tell]:
    """Show how far some work is while the block runs.

    Parameters
    ----------
    progress : callable, False or None
        A callable is told; False keeps quiet; None shows a bar in a notebook, and on a terminal if
        messages (stderr) go to one, and else keeps quiet.
    title : str
        What is being done.

    Yields
    ------
    callable
        To be called with a phrase and a fraction from 0 to 1, from the thread that entered.
    """
    if callable(progress):
        yield progress
    elif progress is False:
        yield _quiet
    elif in_notebook():
        yield from _in_notebook(title)
    elif sys.stderr.isatty():
        yield from _on_terminal(title)
    else:
        yield _quiet


def _quiet(_phrase: str, _fraction: float) -> None:
    pass


def part(tell: Tell, begin: float, end: float, title: str = "") -> Tell:
    """Return what tells the progress of a part of some work, that goes from one fraction to another."""

    def within(phrase: str, fraction: float) -> None:
        tell(f"{title}: {phrase}" if title else phrase, begin + (end - begin) * min(max(fraction, 0.0), 1.0))

    return within


def in_notebook() -> bool:
    """Tell whether a notebook's kernel runs this; IPython on a terminal is a terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _on_terminal(title: str) -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.fields[title]}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Bar(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task("", total=1.0, title=title)
        yield lambda phrase, fraction: bar.update(task, description=phrase, completed=fraction)


def _in_notebook(title: str) -> Iterator[Tell]:
    """Show a bar in the cell's output, and in its place a line when the work has ended.

    The bar is HTML that is replaced through its display id: unlike a widget, what remains in the saved notebook can
    be read without a kernel.
    """
    from IPython.display import display

    clock = _Clock()
    handle = display(_look(title, "", 0.0, ""), raw=True, display_id=True)

    def tell(phrase: str, fraction: float) -> None:
        if clock.due(phrase, fraction):
            handle.update(_look(title, phrase, fraction, clock.left(fraction)), raw=True)

    ended = "stopped"
    try:
        yield tell
        ended = INTERRUPTED if clock.phrase == INTERRUPTED else "done"
    finally:
        handle.update({"text/plain": f"{title}: {ended} after {seconds(clock.elapsed())}"}, raw=True)


class _Clock:
    """How long the work has taken, and when to show that again."""

    def __init__(self):
        self._began = self._shown = time.monotonic()
        self._first = True
        self.phrase = ""

    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def due(self, phrase: str, fraction: float) -> bool:
        now, self.phrase = time.monotonic(), phrase
        if not self._first and now - self._shown < _EVERY_S and fraction < 1:
            return False
        self._first, self._shown = False, now
        return True

    def left(self, fraction: float) -> str:
        """Return how long the rest takes if it goes on like that, for reading; empty before that can be told."""
        if not 0.01 < fraction < 1 or self.elapsed() < 1:
            return ""
        return f"{seconds(self.elapsed() * (1 - fraction) / fraction)} left"


def seconds(value: float) -> str:
    """Return a time for reading: ``"7 s"``, ``"2 min 5 s"``, ``"1 h 10 min"``."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _look(title: str, phrase: str, fraction: float, left: str) -> dict[str, str]:
    """Return the bar as HTML and as text."""
    fraction = min(max(fraction, 0.0), 1.0)
    words = ", ".join(word for word in (phrase, left) if word)
    full = round(_CELLS * fraction)
    text = f"{title} {'█' * full}{'░' * (_CELLS - full)} {fraction:4.0%} {words}".rstrip()
    bar = f'<progress max="1" value="{fraction:.3f}" style="width:14em;vertical-align:middle"></progress>'
    page = f"<span>{html.escape(title)} {bar} {fraction:.0%} {html.escape(words)}</span>"
    return {"text/plain": text, "text/html": page}
