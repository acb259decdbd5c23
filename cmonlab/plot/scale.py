"""Colour scales: which colour a value has, and what the colour bar says.

A figure names no colour of a scale. It names the colour axis, or the step of a line, and the template of the theme
holds the colours: so a figure changes its theme whole by changing its template.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

import numpy as np
from plotly.colors import sample_colorscale, sequential

from cmonlab.schema.format import digits

STEPS = 16
# Viridis (van der Walt and Smith, 2015) rises evenly in lightness, for every kind of colour blindness. More is always
# further from the paper, and what is nearest to it still has a contrast of 2.5: so of its range a part each.
_RANGE = {"light": (0.66, 0.0), "dark": (0.31, 1.0)}


@cache
def colors(theme: str, steps: int = STEPS) -> list[str]:
    """Return a theme's scale from little to much."""
    return sample_colorscale(sequential.Viridis, np.linspace(*_RANGE[theme], steps).tolist())


def step_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the step of each value between the ends of a scale, 0 to ``STEPS - 1``."""
    share = (np.asarray(values, float) - low) / max(high - low, 1e-12)
    return np.clip((share * STEPS).astype(int), 0, STEPS - 1)


def span(values: Iterable[float]) -> tuple[float, float]:
    """Return round ends of a logarithmic scale that holds these values; they rarely change when the values do.

    Parameters
    ----------
    values : iterable of float
        What is not above 0, or not finite, has no place and counts for nothing.

    Returns
    -------
    tuple of float
        Decimal logarithms of numbers 1, 2 or 5 times a power of ten; 1 and 10 where there is no value.
    """
    values = np.asarray(list(values), float)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    steps = _round(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    below = max(step for step in steps if step <= low * (1 + 1e-9))
    above = min(step for step in steps if step >= high * (1 - 1e-9) and step > below)
    return math.log10(below), math.log10(above)


def _round(first: int, last: int) -> list[float]:
    return [m * 10.0**k for k in range(first, last + 1) for m in (1, 2, 5)]


def ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Return the ticks of a logarithmic scale between these decimal logarithms, and their texts."""
    steps = [step for step in _round(math.floor(low), math.ceil(high)) if low - 1e-9 <= math.log10(step) <= high + 1e-9]
    if high - low > 2:
        steps = [step for step in steps if abs(math.log10(step) - round(math.log10(step))) < 1e-9]
    return [math.log10(step) for step in steps], [digits(step, 2) for step in steps]


def bar(title: str, low: float, high: float) -> dict:
    """Return the colour axis of values that are given as their decimal logarithms."""
    at, texts = ticks(low, high)
    return {"cmin": low, "cmax": high, "colorbar": {"title": {"text": title}, "tickvals": at, "ticktext": texts}}
