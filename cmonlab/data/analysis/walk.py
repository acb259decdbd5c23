"""The hops of journeys, including the moment at which the receive softirq began.

A packet that a device hands over waits for the receive softirq to begin, and then for the packets ahead of it. There is
no point between the two, but the reception of the packet reports how long the softirq had been running.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..correlation.correlate import Journeys
from ..correlation.order import Columns, runs
from .kinds import Kinds
from .names import Names

_SOFTIRQ = "softirq"


class Hops(NamedTuple):
    """Hops of journeys, journey after journey.

    Attributes
    ----------
    label : numpy.ndarray of int64, shape (hops,)
        Number of each hop's label; see `Walk.labels`.
    ts_ns : numpy.ndarray of int64, shape (hops,)
        Time of each hop.
    length : numpy.ndarray of int64, shape (journeys,)
        Number of hops of each journey.
    """

    label: np.ndarray
    ts_ns: np.ndarray
    length: np.ndarray

    @property
    def opens(self) -> np.ndarray:
        """Position of each journey's first hop."""
        return np.cumsum(self.length) - self.length


class Segments(NamedTuple):
    """Segments of journeys, in no particular order.

    Attributes
    ----------
    journey : numpy.ndarray of int64, shape (segments,)
        Position of its journey among those that were asked for.
    pair : numpy.ndarray of int64, shape (segments,)
        Number of the segment; see `Walk.segment`.
    took_ns, end_ns : numpy.ndarray of int64, shape (segments,)
        Its duration, and the time at which it ended.
    place : numpy.ndarray of int64, shape (segments,)
        Numbers that ascend in the order of journeys and their hops.
    """

    journey: np.ndarray
    pair: np.ndarray
    took_ns: np.ndarray
    end_ns: np.ndarray
    place: np.ndarray


class Walk:
    """The labelled hops and segments of journeys.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Journeys
        From `correlate.correlate`.
    names : Names
        Names of the recording.
    kinds : Kinds
        What the time of a segment is spent on.

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
        labels_of_hops = [names.hop(*hop) for hop in hops]
        begins = [f"{names.place(netns, ifindex)} {_SOFTIRQ}" for netns, ifindex, _ in hops]
        number, labels = pd.factorize(np.array(labels_of_hops + begins, object))
        self.labels: list[str] = labels.tolist()
        self._label, self._begin = np.split(number.astype(np.int64), [len(hops)])
        device = [hop[:2] for hop in hops]
        last = dict(zip(number.tolist(), zip([*words, *[_SOFTIRQ] * len(hops)], device * 2, strict=True), strict=True))
        self._word = [last[label][0] for label in range(len(labels))]
        self._device = [last[label][1] for label in range(len(labels))]

    def of(self, journeys: np.ndarray) -> Hops:
        """Return the hops of journeys, given by their numbers (int64, ascending)."""
        length = self._length(journeys)
        label, ts, at, begin, began = self._passed(journeys, length)
        if len(at) == 0:
            return Hops(label, ts, length)
        new = np.zeros(len(label), np.int64)
        new[at] = 1
        place = np.arange(len(label)) + np.cumsum(new)
        whole = Hops(
            np.empty(len(label) + len(at), np.int64),
            np.empty(len(label) + len(at), np.int64),
            length + np.add.reduceat(new, np.cumsum(length) - length),
        )
        for values, hops, inserted in ((whole.label, label, begin), (whole.ts_ns, ts, began)):
            values[place] = hops
            values[place[at] - 1] = inserted
        return whole

    def segments(self, journeys: np.ndarray) -> tuple[Segments, Segments]:
        """Return the segments of journeys: the same as those between the hops that `of` returns, but faster.

        Parameters
        ----------
        journeys : numpy.ndarray of int64, shape (journeys,), ascending
            Numbers of the journeys.

        Returns
        -------
        others, waits : Segments
            Segments that end at a hop, and those that end where a softirq begins.
        """
        length = self._length(journeys)
        label, ts, at, begin, began = self._passed(journeys, length)
        wide, journey = len(self.labels), np.repeat(np.arange(len(length)), length)
        took, pair = np.diff(ts, prepend=0), self._pairs(label)
        waits = Segments(journey[at], label[at - 1] * wide + begin, began - ts[at - 1], began, 2 * at)
        pair[at], took[at] = begin * wide + label[at], ts[at] - began
        inner = np.ones(len(label), bool)
        inner[np.cumsum(length) - length] = False
        hop = np.flatnonzero(inner)
        return Segments(journey.take(hop), pair.take(hop), took.take(hop), ts.take(hop), 2 * hop + 1), waits

    def _length(self, journeys: np.ndarray) -> np.ndarray:
        start = self._found.start
        return start[1:].take(journeys) - start.take(journeys)

    def _passed(self, journeys: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return label and time of each hop; before which hops a softirq began, the labels of these, and when."""
        found = self._found
        event = found.event.take(runs(found.start.take(journeys), length)).astype(np.int64)
        code, ts = found.hops.code.take(event).astype(np.int64), self._events["ts_ns"].take(event)
        at, began = self._softirqs(event, code, ts, np.cumsum(length) - length)
        return self._label.take(code), ts, at, self._begin.take(code[at]), began

    def _softirqs(
        self, event: np.ndarray, code: np.ndarray, ts: np.ndarray, opens: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return before which hops a softirq began, and when.

        A hop at which a polled device's ring is read is in the softirq of the reception that follows it.
        """
        got = np.flatnonzero(self._received.take(code))
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
        """Return the number of the segment that ends at each hop, int64; it is meaningless at a first hop."""
        return self._pairs(hops.label)

    def _pairs(self, label: np.ndarray) -> np.ndarray:
        pair = label.copy()
        pair[1:] += label[:-1] * len(self.labels)
        return pair

    def segment(self, pair: int) -> str:
        """Return the name of a segment by its number, empty below 0."""
        if pair < 0:
            return ""
        return f"{self.labels[pair // len(self.labels)]} → {self.labels[pair % len(self.labels)]}"

    def kind(self, pair: int) -> str:
        """Return what a segment's time is spent on, by its number; empty below 0."""
        if pair < 0:
            return ""
        before, after = divmod(int(pair), len(self.labels))
        return self._kinds.of(self._word[before], self._word[after], self._device[before] == self._device[after])
