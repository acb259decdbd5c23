"""Which journeys an export shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cmonlab.errors import ExportError, UnknownName


def choose(journeys: pd.DataFrame, wanted: int | Sequence[int] | None) -> np.ndarray:
    """Return the numbers of the journeys to export, ascending.

    Parameters
    ----------
    journeys : pandas.DataFrame
        A session's table of journeys: the columns ``complete`` and ``one_way_delay_ns`` are read.
    wanted : int or sequence of int, optional
        A number: so many journeys at most, half of them the slowest complete ones, the others spread evenly over the
        rest. A sequence: the numbers of the journeys. All by default.

    Returns
    -------
    numpy.ndarray of int64, shape (chosen,)

    Raises
    ------
    ExportError
        The session has no journey, or fewer than one is wanted.
    UnknownName
        There is no journey with such a number.
    """
    total = len(journeys)
    if not total:
        why = "its rules matched no packet, or they only aggregate or count"
        raise ExportError("the session has no journey to export", why=why, fix="export one of its tables instead")
    if wanted is None:
        return np.arange(total)
    if isinstance(wanted, (int, np.integer)):
        if wanted < 1:
            raise ExportError(f"{wanted} journeys cannot be exported", fix="choose 1 or more, or None for all")
        return np.arange(total) if wanted >= total else _tail_and_sample(journeys, int(wanted))
    numbers = np.unique(np.asarray(wanted, np.int64))
    for number in numbers[(numbers < 0) | (numbers >= total)].tolist():
        raise UnknownName("journey", str(number), [f"0 to {total - 1}"])
    return numbers


def _tail_and_sample(journeys: pd.DataFrame, count: int) -> np.ndarray:
    complete = np.flatnonzero(journeys["complete"])
    delay = journeys["one_way_delay_ns"].to_numpy()[complete]
    slowest = complete[np.argsort(-delay, kind="stable")[: (count + 1) // 2]]
    rest = np.setdiff1d(np.arange(len(journeys)), slowest)
    spread = np.linspace(0, len(rest) - 1, count - len(slowest)).astype(np.int64)
    return np.sort(np.concatenate([slowest, rest[spread]]))


def describe(journeys: pd.DataFrame, chosen: np.ndarray) -> str:
    """Return a phrase that says how many of the journeys were chosen.

    Parameters
    ----------
    journeys : pandas.DataFrame
        A session's table of journeys.
    chosen : numpy.ndarray of int64, shape (chosen,)
        What `choose` returned for it.
    """
    if len(chosen) == len(journeys):
        return f"all {len(journeys):,} journeys"
    return f"{len(chosen):,} of {len(journeys):,} journeys: a choice, so counts and rates are not those of the session"
