"""Tables for papers: LaTeX that needs the package booktabs and no other."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cmonlab import schema
from cmonlab.errors import ExportError
from cmonlab.schema.column import unit_of

LONGEST = 200  # rows: nobody reads more in print
_MOMENTS = {"ts_ns", "start_ns", "end_ns", "from_ns", "to_ns"}  # a reading of the clock, not a duration
_NAMES = {"sport", "dport", "seq", "journey", "original", "parent", "repeats", "netns", "ifindex", "ident", "cpu"}
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "→": r"$\to$",
    "µ": r"$\mu$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "−": r"$-$",
    "–": "--",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "\n": " ",
}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def latex(frame: pd.DataFrame, table: str = "", *, caption: str = "", label: str = "") -> str:
    r"""Return a table as LaTeX; the document needs ``\usepackage{booktabs}``.

    Parameters
    ----------
    frame : pandas.DataFrame
        The rows and columns to print.
    table : str
        Its name in `cmonlab.schema`, which has the units. The unit of other columns is taken from the end of their
        names (``_ns``, ``_bps``, ``_bytes``, ``_s``).
    caption : str
        Plain text, escaped here.
    label : str
        Label for ``\ref``; by default ``tab:`` and the table's name.

    Returns
    -------
    str
        An environment ``table``.

    Raises
    ------
    ExportError
        The table has more than 200 rows.

    Notes
    -----
    Durations are printed in µs, rates with a prefix, shares in percent. All numbers of a column have the same number of
    decimals, which gives its median three significant digits. The bounds of quantiles are left out where they equal
    the quantile, as they do without sampling.
    """
    if len(frame) > LONGEST:
        fix = f"choose rows (`cm.export.latex(table.head(20), …)`), at most {LONGEST}; or write .csv or .arrow"
        raise ExportError(f"a table of {len(frame):,} rows is too long to print", fix=fix)
    units = {column.name: column.unit for column in schema.TABLES.get(table, ())}
    shown = [name for name in frame.columns if not _says_nothing(frame, name)]
    columns = [_column(frame[name], str(name), units.get(name)) for name in shown]
    rows = zip(*(cells for *_, cells in columns), strict=True)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            *([f"  \\caption{{{escape(caption)}}}"] if caption else []),
            f"  \\label{{{label or 'tab:' + (table or 'table')}}}",
            f"  \\begin{{tabular}}{{{''.join(align for align, *_ in columns)}}}",
            r"    \toprule",
            f"    {' & '.join(header for _, header, _ in columns)} \\\\",
            r"    \midrule",
            *(f"    {' & '.join(row)} \\\\" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: object) -> str:
    """Return text with the characters escaped that LaTeX would interpret."""
    return "".join(_ESCAPES.get(character, character) for character in str(text))


def _says_nothing(frame: pd.DataFrame, name: str) -> bool:
    for end in ("_low_ns", "_high_ns"):
        value = str(name).removesuffix(end) + "_ns"
        if str(name).endswith(end) and value in frame:
            return bool((frame[name].eq(frame[value]) | frame[value].isna()).all())
    return False


def _column(values: pd.Series, name: str, unit: str | None) -> tuple[str, str, list[str]]:
    """Return alignment, header and cells of a column."""
    words = name.replace("p999", "p99.9").replace("_", " ")
    if pd.api.types.is_bool_dtype(values):
        return "l", escape(words), ["yes" if value else "no" for value in values]
    if not pd.api.types.is_numeric_dtype(values):
        return "l", escape(words), [escape(_plain(value)) for value in values]
    unit = unit_of(name) if unit is None else unit
    number, (size, shown) = values.to_numpy(float), _scale(values, name, unit)
    header = escape(_without(words, unit)) + (f" ({escape(shown)})" if shown else "")
    if pd.api.types.is_integer_dtype(values) and size == 1:
        return "r", header, [f"{value}" if name in _NAMES else f"{value:,}" for value in values]
    places = _places(number / size, 3 if size == 1e3 and unit == "ns" else 6)
    return "r", header, [_number(value / size, places) for value in number.tolist()]


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple, np.ndarray)) else str(value)


def _without(words: str, unit: str) -> str:
    """Return a column's name without its unit."""
    return words.removesuffix({"ns": " ns", "bit/s": " bps", "bytes": " bytes", "s": " s"}.get(unit, " "))


def _scale(values: pd.Series, name: str, unit: str) -> tuple[float, str]:
    """Return (divisor of the numbers, their unit after the division)."""
    if unit == "ns" and name not in _MOMENTS:
        return 1e3, "µs"
    if unit == "bit/s":
        greatest = float(values.abs().max()) if len(values) else 0.0
        return next(((size, prefix + unit) for size, prefix in _PREFIXES if greatest >= size), (1, unit))
    if name in ("share", "loss"):
        return 0.01, "%"
    return 1, unit


def _places(values: np.ndarray, most: int) -> int:
    some = np.abs(values[np.isfinite(values) & (values != 0)])
    return min(max(2 - math.floor(math.log10(np.median(some))), 0), most) if len(some) else 0


def _number(value: float, places: int) -> str:
    if math.isnan(value):
        return "--"
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    text = f"{value:,.{places}f}"
    return f"${text}$" if value < 0 else text
