"""Coverage of a sample's confidence intervals: how often they contain the quantiles of all packets, by window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmonlab.data.analysis.stats import quantile_ranks
from cmonlab.session.session import Session

QUANTILES = (0.5, 0.99)


@dataclass(frozen=True)
class Segments:
    """The durations of segments in complete journeys.

    Attributes
    ----------
    start_ns : numpy.ndarray of int64, shape (journeys,)
        Start of each complete journey, ascending.
    seq : numpy.ndarray of uint32, shape (journeys,)
        ``seq`` of its events.
    times : dict of str to tuple of numpy.ndarray
        Direction and segment → indices of the journeys with this segment, ascending, and its durations in them (ns).
    """

    start_ns: np.ndarray
    seq: np.ndarray
    times: dict[str, tuple[np.ndarray, np.ndarray]]

    def of(self, chosen: np.ndarray) -> Segments:
        """Return the segments of chosen journeys: `chosen` is a bool array of shape (journeys,)."""
        times = {name: (at[chosen[at]], took[chosen[at]]) for name, (at, took) in self.times.items()}
        return Segments(self.start_ns, self.seq, times)


def segments_of(session: Session) -> Segments:
    """Return the segments of the complete journeys of a session."""
    hops, journeys = session.hops(), session.journeys()
    hops = hops[hops["segment"] != ""]
    direction = journeys["direction"].astype(str).to_numpy()[hops["journey"]]
    complete = journeys[journeys["complete"]]
    parts = hops[["journey", "segment_ns"]].groupby([direction, hops["segment"].astype(str).to_numpy()], sort=True)
    times = {
        f"{where}: {segment}": (np.searchsorted(complete["journey"], rows["journey"]), rows["segment_ns"].to_numpy())
        for (where, segment), rows in parts
    }
    return Segments(complete["start_ns"].to_numpy(), complete["seq"].to_numpy(), times)


class Tally:
    """Counts how often the confidence interval of a quantile contains it.

    Parameters
    ----------
    quantile : float
        Between 0 and 1.

    Attributes
    ----------
    trials : int
        Number of intervals: windows, for each segment and sample.
    samples : int
        Number of windows, for each sample. The segments of one window come from the same packets.
    """

    def __init__(self, quantile: float):
        self._quantile = quantile
        self.trials = self.samples = self._held = self._stated = 0

    @property
    def coverage(self) -> float:
        """Share of the intervals that contain the true quantile; NaN without intervals."""
        return self._held / self.trials if self.trials else np.nan

    @property
    def stated(self) -> float:
        """Share of the intervals that have two finite ends; NaN without intervals."""
        return self._stated / self.trials if self.trials else np.nan

    def add(self, truth: Segments, sample: Segments, window: int, share: float) -> None:
        """Add the intervals of every window and segment that both know.

        Parameters
        ----------
        truth : Segments
            Of all packets.
        sample : Segments
            Of the sampled packets.
        window : int
            Journeys of `truth` per window.
        share : float
            Sampled share of the packets.
        """
        limits = truth.start_ns[::window][: len(truth.start_ns) // window]
        self.samples += len(limits)
        for name in truth.times.keys() & sample.times.keys():
            every, drawn = (_cut(part, *part.times[name], limits) for part in (truth, sample))
            for all_of_them, some in zip(every, drawn, strict=True):
                if len(all_of_them) and np.ptp(all_of_them) > 0:  # if all are equal, there is nothing to test
                    self._try(np.quantile(all_of_them, self._quantile), np.sort(some), share)

    def _try(self, value: float, ordered: np.ndarray, share: float) -> None:
        low, high = quantile_ranks(len(ordered), self._quantile, share)
        above = low < 0 or ordered[low] <= value
        below = high == len(ordered) or value <= ordered[high]
        self.trials += 1
        self._held += bool(above and below)
        self._stated += low >= 0 and high < len(ordered)


def _cut(part: Segments, journeys: np.ndarray, took: np.ndarray, limits: np.ndarray) -> list[np.ndarray]:
    """Return durations by window; the last window also has the remaining journeys."""
    return np.split(took, np.searchsorted(part.start_ns[journeys], limits[1:]))


def hash_of(events: pd.DataFrame) -> np.ndarray:
    """Return the hash by which IPv4 UDP packets are sampled, from 0 up to 1 (bpf/packet.h, ``hash_of_packet``).

    Parameters
    ----------
    events : pandas.DataFrame
        Hops of packets, with the columns seq, proto and ident.

    Returns
    -------
    numpy.ndarray of float64, shape (events,)
    """
    seq, proto, ident = (events[name].to_numpy().astype(np.uint64) for name in ("seq", "proto", "ident"))
    m = (seq ^ proto << np.uint64(24) ^ np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xFF51AFD7ED558CCD)
    m ^= m >> np.uint64(32)
    m = (m ^ ident) * np.uint64(0xC4CEB9FE1A85EC53)
    return ((m ^ m >> np.uint64(32)) & np.uint64(0xFFFFFFFF)).astype(float) / 2**32
