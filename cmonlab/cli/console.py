"""What the terminal shows: messages and progress on stderr, results on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import CmonlabError

_WIDTH = 1000  # where no terminal says how wide it is: a line that is piped is not to be folded


def _console(stream, stderr: bool) -> Console:
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _WIDTH)


def out() -> Console:
    """Return the console of results."""
    return _console(sys.stdout, False)


def err() -> Console:
    """Return the console of messages."""
    return _console(sys.stderr, True)


def say(sentence: str) -> None:
    """Tell the user what is going on."""
    err().print(sentence, markup=False, style="dim", soft_wrap=True)


def complain(error: CmonlabError | str) -> None:
    """Show an error: what, why, fix."""
    console = err()
    if isinstance(error, str):
        console.print(error, markup=False, style="bold red", soft_wrap=True)
        return
    console.print(f"error: {error.what}", markup=False, style="bold red", soft_wrap=True)
    for word, text in (("why", error.why), ("fix", error.fix)):
        if text:
            console.print(f"  {word}: {text}", markup=False, soft_wrap=True)


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, float], None]]:
    """Show a progress bar where there is a terminal; yields a function of a phrase and a fraction."""
    console = err()
    if not console.is_terminal:
        yield lambda phrase, fraction: None
        return
    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, title=title)
        yield lambda phrase, fraction: bar.update(task, description=phrase, completed=fraction)


def _cell(value: object, name: str) -> str:
    if isinstance(value, float):
        if name == "share":
            return f"{value:.1%}"
        return "" if value != value else f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.4g}"
    # A port or a number of a journey is a name, not a quantity.
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and name not in ("sport", "dport", "seq", "journey", "netns")
    ):
        return f"{value:,}"
    return str(value)


def show(table: pd.DataFrame, title: str = "") -> None:
    """Print a DataFrame as a table, numbers to the right."""
    if table.empty:
        out().print(f"{title}: no rows" if title else "no rows", markup=False)
        return
    drawn = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold"
    )
    for name in table.columns:
        number = pd.api.types.is_numeric_dtype(table[name])
        drawn.add_column(str(name), justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in table.to_dict("records"):
        drawn.add_row(*(_cell(value, name) for name, value in row.items()))
    out().print(drawn, markup=False)
