"""Output on the terminal: messages on stderr, results on stdout. Progress bars are in `cmonlab.progress`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cmonlab.errors import CmonlabError

if TYPE_CHECKING:
    import pandas as pd

_WIDTH = 1000  # without a terminal: piped lines must not be wrapped
_GAP = 2  # spaces between columns
_FOLDED = 12  # least width of a column of text, in characters; longer text is wrapped


def _console(stream: TextIO, stderr: bool) -> Console:
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _WIDTH)


def out() -> Console:
    """Return the console for results, stdout."""
    return _console(sys.stdout, False)


def err() -> Console:
    """Return the console for messages, stderr."""
    return _console(sys.stderr, True)


def say(sentence: str) -> None:
    """Show a message to the user."""
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


def _cell(value: object, name: str) -> str:
    if isinstance(value, float):
        if name == "share":
            return f"{value:.1%}"
        return "" if value != value else f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.4g}"
    # A port or the number of a journey is a name, not a quantity, so it gets no thousands separators.
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and name not in ("sport", "dport", "seq", "journey", "netns")
    ):
        return f"{value:,}"
    return str(value)


def show(table: pd.DataFrame, title: str = "") -> None:
    """Print a DataFrame as a table with numbers aligned to the right.

    A table that is wider than the terminal is split into several ones, one below the other.

    Parameters
    ----------
    table : pandas.DataFrame
        What is printed.
    title : str
        Printed above the table.
    """
    printer = out()
    if table.empty:
        printer.print(f"{title}: no rows" if title else "no rows", markup=False)
        return
    cells = {name: [_cell(value, name) for value in table[name].tolist()] for name in table.columns}
    for number, names in enumerate(_fitting(table, cells, printer.width)):
        if number:
            printer.print()
        printer.print(_drawn(table, cells, names, "" if number else title), markup=False)


def _fitting(table: pd.DataFrame, cells: dict[str, list[str]], width: int) -> list[list[str]]:
    """Return the columns of each part; each part begins with the first column, which identifies a row."""
    first, *rest = table.columns
    least = {name: _least_width(table[name], cells[name]) for name in table.columns}
    parts, used = [[first]], least[first]
    for name in rest:
        if used + _GAP + least[name] > width and parts[-1] != [first]:
            parts.append([first])
            used = least[first]
        parts[-1].append(name)
        used += _GAP + least[name]
    return parts


def _least_width(column: pd.Series, cells: list[str]) -> int:
    longest = max(map(len, cells))
    # Text may be wrapped; numbers and names of columns must not.
    return max(len(str(column.name)), longest if _is_number(column) else min(longest, _FOLDED))


def _drawn(table: pd.DataFrame, cells: dict[str, list[str]], names: list[str], title: str) -> Table:
    drawn = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold"
    )
    for name in names:
        number, least = _is_number(table[name]), _least_width(table[name], cells[name])
        side: Literal["right", "left"] = "right" if number else "left"
        drawn.add_column(str(name), justify=side, no_wrap=number, overflow="fold", min_width=least)
    for row in zip(*(cells[name] for name in names), strict=True):
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def _is_number(column: pd.Series) -> bool:
    from pandas.api.types import is_numeric_dtype

    return is_numeric_dtype(column)
