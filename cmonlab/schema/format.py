"""Numbers with units, and names, as text for people."""

from __future__ import annotations

import math
import re


def with_unit(value: float, unit: str) -> str:
    """Return a value with its unit.

    Parameters
    ----------
    value : float
        Value in this unit.
    unit : str
        Unit as in `Column.unit`, or ``"1/s"``. The text of ns and bit/s uses a larger unit if that is shorter.

    Returns
    -------
    str
        For instance ``"1.23 ms"``.
    """
    if unit == "ns":
        return duration(value)
    if unit == "bit/s":
        size, word = next(
            ((s, w) for s, w in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")) if abs(value) >= s), (1.0, "bit/s")
        )
        return f"{digits(value / size)} {word}"
    if unit == "1/s":
        return f"{digits(value)}/s"
    return f"{digits(value)} {unit}".strip()


def natural(name: object) -> list[tuple[bool, int, str]]:
    """Return a key that sorts names in natural order: c2 before c10."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", str(name))
    ]


def duration(ns: float) -> str:
    """Return a time in ns (NaN gives ``"–"``) with three significant digits, in ns, µs, ms or s."""
    ns = float(ns)
    if not math.isfinite(ns):
        return "–"
    # From these limits on, three digits round up to the next unit: 999.5 µs is 1 ms.
    for limit, unit, size in ((999.5, "ns", 1), (999.5e3, "µs", 1e3), (999.5e6, "ms", 1e6)):
        if abs(ns) < limit:
            return f"{digits(ns / size)} {unit}"
    return f"{digits(ns / 1e9)} s"


def digits(value: float, significant: int = 3) -> str:
    """Return a number without an exponent: 0.0123, 1.23, 12.3, 1,234.

    Parameters
    ----------
    value : float
        The number; NaN and infinity give ``"–"``.
    significant : int
        Number of significant digits; digits before the decimal point are never left out.
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    places = max(0, significant - 1 - math.floor(math.log10(abs(value))))
    number = f"{value:,.{places}f}"
    return number.rstrip("0").rstrip(".") if "." in number else number


def percent(share: float) -> str:
    """Return a share (0 to 1) in percent; NaN gives ``"–"``."""
    return f"{digits(100 * float(share), 2)} %" if math.isfinite(share) else "–"


def count(number: float) -> str:
    """Return a count with separated thousands."""
    return f"{int(number):,}"


def counted(number: float, one: str, many: str) -> str:
    """Return a count with its noun: ``"1 journey"``, ``"1,009 journeys"``.

    Parameters
    ----------
    number : float
        The count.
    one, many : str
        Singular and plural of the noun.
    """
    return f"{count(number)} {one if number == 1 else many}"


def short(name: str, width: int) -> str:
    """Return a name, shortened in its middle, because the names of containers often begin alike.

    Parameters
    ----------
    name : str
        The name.
    width : int
        Largest number of characters of the result.
    """
    if len(name) <= width:
        return name
    tail = width // 2
    return f"{name[: width - tail - 1]}…{name[-tail:]}"
