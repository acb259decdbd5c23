"""Numbers with their units, and names, as text."""

from __future__ import annotations

import math
import re


def with_unit(value: float, unit: str) -> str:
    """Return a value with its unit, for reading."""
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
