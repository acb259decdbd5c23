"""The result of a trace, and how many records of it were read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .generation import Rule
from .kernel.defines import defines

Ledger = dict[str, dict[str, int]]

_TRACE_GAP = defines("records.h")["POINT_TRACE_GAP"]
_IDS = 256  # of points


@dataclass
class Recording:
    """The result of a trace.

    Attributes
    ----------
    chunks : list of (int, numpy.ndarray)
        CPU and records, shape (n,), dtype of ``struct hop``, in the order in which they were read.
    cells : list of (int, int, numpy.ndarray)
        Start and end of a window (ns, CLOCK_MONOTONIC), and its cells, shape (n,), with the fields of
        ``struct cell_key`` and ``struct cell``.
    ledgers : dict of int to dict of str to dict of str to int
        As `Tracer.ledgers` returns them.
    tallies : list of dict
        As `Tracer.tallies` returns them.
    rules : list of Rule
        All rules that were active, with their epochs.
    addresses6 : dict of int to bytes
        IPv6 addresses (16 bytes) by their key in the records.
    probe_values : list of (int, numpy.ndarray)
        CPU and records of custom probes, shape (n,), dtype of ``struct probe_record``, in the order in which they were
        read. Their hops are also in `chunks`.
    trace_gaps : list of (int, int, int)
        CPU, start and end (ns, CLOCK_MONOTONIC) of intervals in which no tracepoint fired.
    reader_cpu_s : float
        CPU time of reading, in seconds.
    """

    chunks: list[tuple[int, np.ndarray]] = field(default_factory=list)
    cells: list[tuple[int, int, np.ndarray]] = field(default_factory=list)
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    tallies: list[dict[str, int | str]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    addresses6: dict[int, bytes] = field(default_factory=dict)
    probe_values: list[tuple[int, np.ndarray]] = field(default_factory=list)
    trace_gaps: list[tuple[int, int, int]] = field(default_factory=list)
    reader_cpu_s: float = 0.0

    def without_gaps(self, cpu: int, records: np.ndarray) -> np.ndarray:
        """Move the records of trace gaps to `trace_gaps`, and return the others.

        Parameters
        ----------
        cpu : int
            CPU whose ring the records are from.
        records : numpy.ndarray, shape (n,), dtype of ``struct hop``
            As they were read.

        Returns
        -------
        numpy.ndarray, shape (hops,), of the same dtype
        """
        gap = records["point"] == _TRACE_GAP
        if not gap.any():
            return records
        gaps = records[gap]
        end = gaps["daddr"].astype(np.int64) << 32 | gaps["saddr"]
        self.trace_gaps += [(cpu, int(a), int(b)) for a, b in zip(gaps["ts_ns"], end, strict=True)]
        return records[~gap]


class ReadCounts:
    """How many records were read, by epoch and point."""

    def __init__(self) -> None:
        self._counts: dict[int, np.ndarray] = {}

    def add(self, records: np.ndarray) -> None:
        """Count records, shape (n,), n > 0, dtype of ``struct hop``."""
        epochs = records["epoch"]
        # Nearly always one epoch; after a change of rules there may be two.
        for epoch in [epochs[0]] if (epochs == epochs[0]).all() else np.unique(epochs):
            counts = self._counts.setdefault(int(epoch), np.zeros(_IDS, np.int64))
            counts += np.bincount(records["point"][epochs == epoch], minlength=_IDS)

    def of(self, epoch: int, point: int) -> int:
        """Return the number of records of an epoch and a point.

        Parameters
        ----------
        epoch : int
            Number of the rule set; records have its lower 16 bits.
        point : int
            Id of the point.

        Returns
        -------
        int
        """
        counts = self._counts.get(epoch & 0xFFFF)
        return 0 if counts is None else int(counts[point])
