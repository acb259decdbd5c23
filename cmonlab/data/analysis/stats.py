"""Statistics of samples: medians with intervals, quantiles of sampled packets, paired rounds in random order."""

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
#: Fewer samples give no useful interval of their median: the range of three samples includes it in 75% of cases.
LEAST_FOR_INTERVAL = 5
Sample = TypeVar("Sample")
#: Least coverage of intervals.
CONFIDENCE = 0.95
_FAR = 9  # standard deviations beyond which probabilities are neglected


@dataclass(frozen=True)
class Summary:
    """Median, quartiles and interval of some samples.

    Attributes
    ----------
    n : int
        Number of samples.
    median : float
        In the unit of the samples, as are the others.
    quartiles : (float, float)
        Lower and upper quartile.
    interval : (float, float)
        95% bootstrap interval of the median (percentile method, Efron 1979).
    """

    n: int
    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]


def summarise(samples: Sequence[float]) -> Summary:
    """Return median, quartiles and a 95% interval of the median of samples (at least one finite number).

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
    """Return the ranks in a sample between which the quantile of the whole population lies, for any distribution.

    Parameters
    ----------
    n : int
        Size of the sample.
    quantile : float
        Between 0 and 1, with numpy's linear interpolation.
    share : float
        Probability with which each member of the population was sampled, above 0 and below 1.
    confidence : float
        Least probability that the interval, ends included, contains the quantile.

    Returns
    -------
    (int, int)
        Positions in the sorted sample, from 0. The first is -1 if the sample is too small to have a value that is low
        enough, the second is `n` if it has none that is high enough.

    Notes
    -----
    The number of sampled values that are not above the quantile has a binomial distribution. In a sample from a finite
    population it has a hypergeometric distribution: Conover, Practical Nonparametric Statistics (3rd ed.), 3.2; David
    and Nagaraja, Order Statistics (3rd ed.), 7.1; Wilks (1962), Mathematical Statistics, 11.4, for finite populations.
    The size of the population is not known. So the interval is made wide enough for the likely size and for the upper
    end of the size's own 95% interval (`estimated_total`). Equal values only increase the probability.
    """
    if n == 0:
        return -1, 0
    likely, more = estimated_total(n, share)
    rest = (1 - confidence) / 2
    ends = [_ranks(n, quantile, every, rest) for every in {round(likely), math.ceil(likely + more)}]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _ranks(n: int, quantile: float, every: int, rest: float) -> tuple[int, int]:
    """Return the positions beyond which the quantile of `every` values lies with probabilities of at most `rest`."""
    below = math.floor(quantile * (every - 1)) + 1
    count, chance = _drawn(n, below, every - below)
    reached = np.cumsum(chance)
    low = int(count[np.searchsorted(reached, rest, side="right")]) - 1
    return low, int(count[np.searchsorted(reached, 1 - rest)])


def _drawn(n: int, inside: int, outside: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the possible numbers of `inside` among `n` values drawn from both, and their probabilities."""
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
    """Estimate the size of a population of which a share was sampled.

    Parameters
    ----------
    n : int
        Size of the sample.
    share : float
        Probability with which each member was sampled, above 0 and up to 1.

    Returns
    -------
    (float, float)
        The estimate, and half the width of its 95% interval.

    Notes
    -----
    The size of the sample has a binomial distribution; the interval is that of its normal approximation.
    """
    return n / share, 1.96 * math.sqrt(n * (1 - share)) / share


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> list[float]:
    """Return the ratio of each round.

    Parameters
    ----------
    numerator, denominator : sequence of float
        One sample per round, in the same order; both were measured shortly after each other.

    Returns
    -------
    list of float

    Raises
    ------
    ValueError
        The numbers of rounds differ.
    """
    return [a / b for a, b in zip(numerator, denominator, strict=True)]


@dataclass(frozen=True)
class Change:
    """The effect of something, from rounds that were measured with and without it.

    Attributes
    ----------
    difference : Summary
        With it less without it, per round.
    ratio : Summary or None
        With it divided by without it, per round; None if a sample without it is not above 0.
    """

    difference: Summary
    ratio: Summary | None


def paired(with_it: Sequence[float], without: Sequence[float]) -> Change:
    """Return the effect of something by comparison within rounds, so that differences between rounds cancel.

    Parameters
    ----------
    with_it, without : sequence of float
        One sample per round, in the same order.

    Returns
    -------
    Change
        With fewer than `LEAST_FOR_INTERVAL` rounds the intervals are NaN.

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
    """Measure each variant once per round, in a random order that changes with each round.

    Parameters
    ----------
    variants : mapping of str to callable
        Name → function that returns one sample of any kind.
    rounds : int
        Number of rounds.
    budget_s : float
        Seconds after which no further round begins.
    least : int, optional
        Number of rounds to run in any case; all `rounds` by default.

    Returns
    -------
    dict of str to list
        One sample per round for each variant, in order of the rounds.
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
