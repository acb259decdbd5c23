"""Progress of long work: a bar with a phrase and the remaining time, on a terminal and in a notebook."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

#: Receives a phrase and a fraction from 0 to 1.
Report = Callable[[str, float], None]
#: None: a bar, if a person can see it; False: no progress; a callable: it receives the progress.
Progress = Report | Literal[False] | None

#: Phrase of work that was interrupted, but has a result.
INTERRUPTED = "interrupted"

_EVERY_S = 0.2
_CELLS = 24


@contextmanager
def shown(progress: Progress = None, title: str = "") -> Iterator[Report]:
    """Show the progress of some work while the block runs.

    Parameters
    ----------
    progress : callable, False or None
        A callable receives a phrase and a fraction from 0 to 1. False shows nothing. None shows a bar in a notebook,
        or on the terminal if stderr is one.
    title : str
        Name of the work.

    Yields
    ------
    callable
        Function to call with a phrase and a fraction from 0 to 1, from the thread that entered the block.
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


def part(report: Report, begin: float, end: float, title: str = "") -> Report:
    """Return a function that reports the progress of one part of the work.

    Parameters
    ----------
    report : callable
        Receives the progress of the whole work.
    begin, end : float
        Fractions of the whole work, 0 to 1, at which the part begins and ends.
    title : str
        Name of the part, put before each phrase.

    Returns
    -------
    callable
        Function to call with a phrase and a fraction of the part, from 0 to 1.
    """

    def report_part(phrase: str, fraction: float) -> None:
        report(f"{title}: {phrase}" if title else phrase, begin + (end - begin) * min(max(fraction, 0.0), 1.0))

    return report_part


def in_notebook() -> bool:
    """Return whether this runs in the kernel of a notebook; IPython on a terminal counts as a terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _on_terminal(title: str) -> Iterator[Report]:
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


def _in_notebook(title: str) -> Iterator[Report]:
    """Show a bar in the cell's output, and replace it by a line when the work has ended.

    The bar is HTML that is updated by its display id. Unlike a widget, the line stays readable in a saved notebook
    without a kernel.
    """
    from IPython.display import display

    clock = _Clock()
    handle = display(_rendered(title, "", 0.0, ""), raw=True, display_id=True)

    def report(phrase: str, fraction: float) -> None:
        if clock.due(phrase, fraction):
            handle.update(_rendered(title, phrase, fraction, clock.left(fraction)), raw=True)

    ended = "stopped"
    try:
        yield report
        ended = INTERRUPTED if clock.phrase == INTERRUPTED else "done"
    finally:
        handle.update({"text/plain": f"{title}: {ended} after {seconds(clock.elapsed())}"}, raw=True)


class _Clock:
    """Time that the work has taken, and whether the next report is due."""

    def __init__(self) -> None:
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
        """Return the remaining time at the present speed, as text; empty in the first second."""
        if not 0.01 < fraction < 1 or self.elapsed() < 1:
            return ""
        return f"{seconds(self.elapsed() * (1 - fraction) / fraction)} left"


def seconds(value: float) -> str:
    """Return a time in seconds as text: ``"7 s"``, ``"2 min 5 s"``, ``"1 h 10 min"``."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _rendered(title: str, phrase: str, fraction: float, left: str) -> dict[str, str]:
    """Return the bar as HTML and as text, by MIME type."""
    fraction = min(max(fraction, 0.0), 1.0)
    words = ", ".join(word for word in (phrase, left) if word)
    full = round(_CELLS * fraction)
    text = f"{title} {'█' * full}{'░' * (_CELLS - full)} {fraction:4.0%} {words}".rstrip()
    bar = f'<progress max="1" value="{fraction:.3f}" style="width:14em;vertical-align:middle"></progress>'
    page = f"<span>{html.escape(title)} {bar} {fraction:.0%} {html.escape(words)}</span>"
    return {"text/plain": text, "text/html": page}
