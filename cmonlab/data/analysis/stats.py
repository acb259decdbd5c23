"""Samples: medians with their spread, what a share of all tells of all, ratios by round, rounds in random order."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

_RESAMPLES = 2000
#: Fewer samples bound their median with less than 93%, whatever is made of them: three hold it in three of four cases.
LEAST_FOR_INTERVAL = 5
Sample = TypeVar("Sample")
#: How often an interval of a sample holds the truth, at least.
CONFIDENCE = 0.95
_FAR = 9  # standard deviations, beyond which lies nothing that counts


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


@lru_cache(maxsize=4096)
def quantile_ranks(n: int, quantile: float, share: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Return between which values of a sample the quantile of all lies, whatever their distribution.

    Parameters
    ----------
    n : int
        Size of the sample.
    quantile : float
        Between 0 and 1; numpy's linear interpolation.
    share : float
        Of all that were in the sample, each by chance, above 0 and below 1.
    confidence : float
        How often the interval, ends included, holds the quantile, at least.

    Returns
    -------
    (int, int)
        Positions in the sorted sample from 0 on; -1 where so small a sample has no value that is low
        enough, `n` where none is high enough.

    Notes
    -----
    How many of the sample are not above the quantile has a binomial distribution, and where the sample is a
    part of finitely many, a hypergeometric one: Conover, Practical Nonparametric Statistics (3rd ed.), 3.2;
    David and Nagaraja, Order Statistics (3rd ed.), 7.1; Wilks (1962), Mathematical Statistics, 11.4, for
    finite populations.  How many there are is not known: the interval holds for as many as is likely, and for
    as many as the upper end of their own 95% interval says (`estimated_total`). Equal values only make it safer.
    """
    if n == 0:
        return -1, 0
    likely, more = estimated_total(n, share)
    rest = (1 - confidence) / 2
    ends = [_ranks(n, quantile, every, rest) for every in {round(likely), math.ceil(likely + more)}]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _ranks(n: int, quantile: float, every: int, rest: float) -> tuple[int, int]:
    """Return the positions beyond which the quantile of `every` lies with a chance of at most `rest` each."""
    below = math.floor(quantile * (every - 1)) + 1
    count, chance = _drawn(n, below, every - below)
    reached = np.cumsum(chance)
    low = int(count[np.searchsorted(reached, rest, side="right")]) - 1
    return low, int(count[np.searchsorted(reached, 1 - rest)])


def _drawn(n: int, inside: int, outside: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how many of `inside` may be among `n` that are drawn from `inside` and `outside`, and their chances."""
    every = inside + outside
    mean = n * inside / every
    far = _FAR * math.sqrt(mean * outside / every * (every - n) / max(every - 1, 1)) + _FAR
    count = np.arange(max(0, n - outside, math.floor(mean - far)), min(n, inside, math.ceil(mean + far)) + 1)
    k = count[:-1].astype(float)
    steps = np.log((inside - k) * (n - k) / ((k + 1) * (outside - n + k + 1)))
    chance = np.concatenate([[0.0], np.cumsum(steps)])
    chance = np.exp(chance - chance.max())
    return count, chance / chance.sum()


def estimated_total(n: int, share: float) -> tuple[float, float]:
    """Return how many there were of which a share was sampled, and half the width of a 95% interval.

    Each was in the sample by chance, so the sample's size is binomial; the interval is that of its normal
    approximation.

    Parameters
    ----------
    n : int
        Size of the sample.
    share : float
        Above 0 and up to 1.
    """
    return n / share, 1.96 * math.sqrt(n * (1 - share)) / share


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
