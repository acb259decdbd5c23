"""Colour scales: the colours of values, and the ticks of colour bars.

A figure does not contain colours of a scale, only the name of its colour axis or of a line's step. The template of the
theme has the colours, so replacing the template changes the theme of the whole figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from plotly.colors import sample_colorscale, sequential

from cmonlab.schema.format import digits

STEPS = 16
# Viridis (van der Walt and Smith, 2015) increases evenly in lightness, also with colour blindness. Each theme uses the
# part of it that contrasts with the paper by 2.5 or more; larger values contrast more.
_RANGE = {"light": (0.66, 0.0), "dark": (0.31, 1.0)}


@cache
def colors(theme: str, steps: int = STEPS) -> list[str]:
    """Return the colour scale of a theme.

    Parameters
    ----------
    theme : {"light", "dark"}
        The theme.
    steps : int
        Number of colours.

    Returns
    -------
    list of str
        From the least to the greatest value, as ``rgb(…)``.
    """
    return sample_colorscale(sequential.Viridis, np.linspace(*_RANGE[theme], steps).tolist())


def step_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the step of a scale that each value is in.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        Values on the scale.
    low, high : float
        Ends of the scale, in the same unit.

    Returns
    -------
    ndarray of int64, shape (n,)
        0 to ``STEPS - 1``; values beyond the ends are in the first or last step.
    """
    share = (np.asarray(values, float) - low) / max(high - low, 1e-12)
    return np.clip((share * STEPS).astype(int), 0, STEPS - 1)


def span(values: Iterable[float]) -> tuple[float, float]:
    """Return round ends of a logarithmic scale for these values; they rarely change when the values change.

    Parameters
    ----------
    values : iterable of float
        Values that are not finite or not above 0 are ignored.

    Returns
    -------
    tuple of float
        Decimal logarithms of two numbers that are 1, 2 or 5 times a power of ten; those of 1 and 10 without a value.
    """
    numbers = np.asarray(list(values), float)
    numbers = numbers[np.isfinite(numbers) & (numbers > 0)]
    if not numbers.size:
        return 0.0, 1.0
    low, high = float(numbers.min()), float(numbers.max())
    steps = _round(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    below = max(step for step in steps if step <= low * (1 + 1e-9))
    above = min(step for step in steps if step >= high * (1 - 1e-9) and step > below)
    return math.log10(below), math.log10(above)


def _round(first: int, last: int) -> list[float]:
    return [m * 10.0**k for k in range(first, last + 1) for m in (1, 2, 5)]


def ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Return the ticks of a logarithmic scale.

    Parameters
    ----------
    low, high : float
        Decimal logarithms of its ends.

    Returns
    -------
    tuple of (list of float, list of str)
        Decimal logarithms of the ticks, and their texts.
    """
    steps = [step for step in _round(math.floor(low), math.ceil(high)) if low - 1e-9 <= math.log10(step) <= high + 1e-9]
    if high - low > 2:
        steps = [step for step in steps if abs(math.log10(step) - round(math.log10(step))) < 1e-9]
    return [math.log10(step) for step in steps], [digits(step, 2) for step in steps]


def bar(title: str, low: float, high: float) -> dict[str, Any]:
    """Return the properties of a colour axis for decimal logarithms of values.

    Parameters
    ----------
    title : str
        Title of the colour bar, with the unit of the values.
    low, high : float
        Decimal logarithms of its ends.

    Returns
    -------
    dict
        Properties of plotly's ``layout.coloraxis``.
    """
    at, texts = ticks(low, high)
    return {"cmin": low, "cmax": high, "colorbar": {"title": {"text": title}, "tickvals": at, "ticktext": texts}}
