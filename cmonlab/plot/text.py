"""Words and numbers as they are drawn.

Plotly reads a small HTML in every label; what comes from outside (container, interface names) goes through `plain`.
"""

from __future__ import annotations

import html
import math
import re
import textwrap


def plain(value: object) -> str:
    """Return text that plotly draws as it stands, markup included."""
    return html.escape(str(value), quote=False)


def natural(name: object) -> list[tuple[bool, int, str]]:
    """Return the key that sorts names as people do: c2 before c10."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", str(name))
    ]


def duration(ns: float) -> str:
    """Return a time for reading: three significant digits in ns, µs, ms or s.

    Parameters
    ----------
    ns : float
        Nanoseconds; NaN gives ``"–"``.
    """
    ns = float(ns)
    if not math.isfinite(ns):
        return "–"
    # The limits lie where three digits round up to the next unit: 999.5 µs is 1 ms.
    for limit, unit, size in ((999.5, "ns", 1), (999.5e3, "µs", 1e3), (999.5e6, "ms", 1e6)):
        if abs(ns) < limit:
            return f"{digits(ns / size)} {unit}"
    return f"{digits(ns / 1e9)} s"


def digits(value: float, significant: int = 3) -> str:
    """Return a number with so many significant digits, without an exponent: 0.0123, 1.23, 12.3, 1,234."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    places = max(0, significant - 1 - math.floor(math.log10(abs(value))))
    number = f"{value:,.{places}f}"
    return number.rstrip("0").rstrip(".") if "." in number else number


def percent(share: float) -> str:
    """Return a share of 1 in percent, ``"–"`` for NaN."""
    return f"{digits(100 * float(share), 2)} %" if math.isfinite(share) else "–"


def count(number: float) -> str:
    """Return a count with its thousands separated."""
    return f"{int(number):,}"


def counted(number: float, one: str, many: str) -> str:
    """Return a count with its noun: ``"1 journey"``, ``"1,009 journeys"``."""
    return f"{count(number)} {one if number == 1 else many}"


def short(name: str, width: int) -> str:
    """Return a name of at most so many characters: of a longer one its middle is left out, as names begin alike."""
    if len(name) <= width:
        return name
    tail = width // 2
    return f"{name[: width - tail - 1]}…{name[-tail:]}"


def fold(label: object, width: int) -> str:
    """Return a label as escaped lines of at most about ``width`` characters, joined by ``<br>``.

    It is folded before an arrow first, then behind the colon between container and interface, then anywhere:
    a long name is never cut off.
    """
    return "<br>".join(plain(line) for line in fold_lines(str(label), width))


def fold_lines(label: str, width: int) -> list[str]:
    """Return the unescaped lines of `fold`."""
    if len(label) <= width:
        return [label]
    head, arrow, tail = label.partition(" → ")
    if arrow:
        return [*fold_lines(head, width), *fold_lines(f"→ {tail}", width)]
    head, colon, tail = label.partition(":")
    if colon and 6 < len(head) < width and len(tail) <= width:
        return [head + colon, *fold_lines(tail, width)]
    return textwrap.wrap(label, width) or [label]


def paragraph(text: str, width: int) -> str:
    """Return running text as escaped lines of at most ``width`` characters, joined by ``<br>``."""
    return "<br>".join(plain(line) for line in textwrap.wrap(text, width, break_on_hyphens=False))


def lines(markup: str) -> int:
    """Return how many lines a folded text takes, 0 when it is empty."""
    return markup.count("<br>") + 1 if markup else 0


def longest(labels: list[str]) -> int:
    """Return the number of characters in the longest line of folded labels."""
    return max((len(html.unescape(line)) for label in labels for line in label.split("<br>")), default=0)
