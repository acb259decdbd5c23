"""Samples of a measurement: medians with their spread, ratios by round, rounds in random order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

_RESAMPLES = 2000
#: Fewer samples bound their median with less than 93%, whatever is made of them: three hold it in three of four cases.
LEAST_FOR_INTERVAL = 5
Sample = TypeVar("Sample")


@dataclass(frozen=True)
class Summary:
    """The middle of some samples and how far they lie apart.

    Attributes
    ----------
    n : int
        Number of samples.
    median : float
    quartiles : (float, float)
        A quarter of the samples lie below the first, a quarter above the second.
    interval : (float, float)
        95% bootstrap interval of the median (percentile method, Efron 1979).
    """

    n: int
    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]


def summarise(samples: Sequence[float]) -> Summary:
    """Return median, quartiles and a 95% interval of the median.

    Raises
    ------
    ValueError
        There is no sample, or one is not finite.
    """
    values = np.asarray(samples, float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"need at least one finite sample, got {samples!r}")
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    picks = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    interval = np.quantile(np.median(values[picks], axis=1), [0.025, 0.975])
    return Summary(len(values), float(middle), (float(low), float(high)), (float(interval[0]), float(interval[1])))


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> list[float]:
    """Return the ratio of each round: both were measured within moments of each other.

    Raises
    ------
    ValueError
        The numbers of rounds differ.
    """
    return [a / b for a, b in zip(numerator, denominator, strict=True)]


@dataclass(frozen=True)
class Change:
    """What an influence changes, by rounds that were measured with and without it.

    Attributes
    ----------
    difference : Summary
        With it less without it, in each round.
    ratio : Summary or None
        With it divided by without it, in each round; None where that was not above 0 in all.
    """

    difference: Summary
    ratio: Summary | None


def paired(with_it: Sequence[float], without: Sequence[float]) -> Change:
    """Return what changes within a round: what differs from round to round falls out.

    Parameters
    ----------
    with_it, without : sequence of float
        One sample a round each, in the same order. Below `LEAST_FOR_INTERVAL` rounds the
        intervals are NaN.

    Raises
    ------
    ValueError
        The numbers of rounds differ, there is none, or a sample is not finite.
    """
    difference = _bounded([a - b for a, b in zip(with_it, without, strict=True)])
    return Change(difference, _bounded(ratios(with_it, without)) if min(without) > 0 else None)


def _bounded(samples: Sequence[float]) -> Summary:
    found = summarise(samples)
    return found if found.n >= LEAST_FOR_INTERVAL else replace(found, interval=(float("nan"), float("nan")))


def interleave(
    variants: Mapping[str, Callable[[], Sample]], rounds: int, budget_s: float = float("inf"), least: int | None = None
) -> dict[str, list[Sample]]:
    """Measure every variant once a round, each round in another random order.

    Parameters
    ----------
    variants : mapping of str to callable
        Each call returns one sample, of whatever kind.
    rounds : int
        Rounds to make.
    budget_s : float
        No further round begins when this much time has gone, but never fewer than `least`.
    least : int, optional
        All `rounds` by default.

    Returns
    -------
    dict of str to list
        As many samples for each variant, in order of the rounds.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in variants}
    least = rounds if least is None else least
    order, shuffle = list(variants), random.Random(0).shuffle
    began = time.monotonic()
    for number in range(rounds):
        if number >= least and time.monotonic() - began > budget_s:
            break
        shuffle(order)
        for name in order:
            samples[name].append(variants[name]())
    return samples
