"""The hops of journeys, with the moment put in at which the softirq began that received the packet.

A packet that a device hands over waits for the receive softirq, and then for its turn in it.  No
point has the packet between the two, but its reception tells how long the softirq had been running.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..engine.correlate import Journeys
from ..engine.order import Columns, runs
from .kinds import Kinds
from .names import Names

_SOFTIRQ = "softirq"


class Hops(NamedTuple):
    """Hops of journeys, journey after journey.

    Attributes
    ----------
    label : numpy.ndarray of int64, shape (hops,)
        Number of each hop's label.
    ts_ns : numpy.ndarray of int64, shape (hops,)
    length : numpy.ndarray of int64, shape (journeys,)
        Hops of each.
    """

    label: np.ndarray
    ts_ns: np.ndarray
    length: np.ndarray

    @property
    def opens(self) -> np.ndarray:
        """Position of each journey's first hop."""
        return np.cumsum(self.length) - self.length


class Walk:
    """Go through journeys hop by hop.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    found : Journeys
        From `engine.correlate`.
    names : Names
    kinds : Kinds
        Of this recording.

    Attributes
    ----------
    labels : list of str
        Distinct labels of hops.
    """

    def __init__(self, events: Columns, found: Journeys, names: Names, kinds: Kinds):
        self._events, self._found, self._kinds = events, found, kinds
        codes = found.hops
        hops = list(zip(codes.netns.tolist(), codes.ifindex.tolist(), codes.point.tolist(), strict=True))
        words = np.array([kinds.word(point) for *_, point in hops], object)
        self._received, self._polled, self._queued = (words == word for word in ("receive", "gro", "rx"))
        ways = [names.hop(*hop) for hop in hops]
        begins = [f"{names.place(netns, ifindex)} {_SOFTIRQ}" for netns, ifindex, _ in hops]
        number, labels = pd.factorize(np.array(ways + begins, object))
        self.labels: list[str] = labels.tolist()
        self._label, self._begin = number[: len(hops)], number[len(hops) :]
        device = [hop[:2] for hop in hops]
        last = dict(zip(number.tolist(), zip([*words, *[_SOFTIRQ] * len(hops)], device * 2, strict=True), strict=True))
        self._word = [last[label][0] for label in range(len(labels))]
        self._device = [last[label][1] for label in range(len(labels))]

    def of(self, journeys: np.ndarray) -> Hops:
        """Return the hops of these journeys."""
        found, length = self._found, self._found.length[journeys]
        event = found.event[runs(found.start[journeys], length)].astype(np.int64)
        code, ts = found.hops.code[event], self._events["ts_ns"][event]
        label = self._label[code].astype(np.int64)
        at, began = self._softirqs(event, code, ts, np.cumsum(length) - length)
        if len(at) == 0:
            return Hops(label, ts, length)
        new = np.zeros(len(event), np.int64)
        new[at] = 1
        place = np.arange(len(event)) + np.cumsum(new)
        whole = Hops(np.empty(len(event) + len(at), np.int64), np.empty(len(event) + len(at), np.int64),
                     length + np.add.reduceat(new, np.cumsum(length) - length))  # fmt: skip
        for values, hops, inserted in ((whole.label, label, self._begin[code[at]]), (whole.ts_ns, ts, began)):
            values[place] = hops
            values[place[at] - 1] = inserted
        return whole

    def most(self, journeys: np.ndarray) -> int:
        """Return how many hops these journeys have at most, begins of softirqs included."""
        length = self._found.length[journeys]
        codes = self._found.hops.code
        received = sum(int(np.count_nonzero(codes == code)) for code in np.flatnonzero(self._received))
        return int(length.sum()) + received

    def _softirqs(self, event, code, ts, opens):
        """Return before which hops a softirq began, and when.

        A hop out of a polled device's ring is in the softirq of the reception that comes next.
        """
        got = np.flatnonzero(self._received[code])
        ran = self._events["aux"][event[got]].astype(np.int64)
        got, ran = got[ran > 0], ran[ran > 0]
        inner = np.ones(len(event) + 1, bool)
        inner[opens] = False
        got, ran = got[inner[got]], ran[inner[got]]
        at = got - self._polled[code[got - 1]]
        good = inner[at] & (self._polled[code[at]] | self._queued[code[at - 1]])
        at, began = at[good], (ts[got] - ran)[good]
        return at, np.clip(began, ts[at - 1], ts[at])

    def pairs(self, hops: Hops) -> np.ndarray:
        """Number the segment that ends at each hop: its two labels (meaningless at a first hop)."""
        pair = hops.label.copy()
        pair[1:] += hops.label[:-1] * len(self.labels)
        return pair

    def segment(self, pair: int) -> str:
        """Return the name of a segment by its number, empty below 0."""
        if pair < 0:
            return ""
        return f"{self.labels[pair // len(self.labels)]} → {self.labels[pair % len(self.labels)]}"

    def kind(self, pair: int) -> str:
        """Return what a segment's time is, by its number; empty below 0."""
        if pair < 0:
            return ""
        before, after = divmod(int(pair), len(self.labels))
        return self._kinds.of(self._word[before], self._word[after], self._device[before] == self._device[after])
