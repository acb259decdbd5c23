"""The figures of a session: its tables, drawn, with what every reader must know below."""

from __future__ import annotations

from . import plot
from .analysis.overhead import told
from .errors import UnknownName


def caption(session) -> str:
    """Return the line that every figure carries: n, lost events, observer overhead."""
    table = session.journeys()
    complete = int(table["complete"].sum())
    ended = session.manifest["recording"]["ended"]
    parts = [
        f"{complete:,} complete of {len(table):,} journeys" + (f" ({session.sampled})" if session.sampled else ""),
        f"{len(session):,} events, {session.lost_events:,} lost events",
        *([f"blind for {session.blind_ns / 1e6:.1f} ms"] if session.blind_ns else []),
        f"observer overhead: {told(session.overhead())}",
    ]
    return " · ".join(parts + ([f"recording {ended}"] if ended != "finished" else []))


class Figures:
    """``session.plot``: one method a figure, each a plotly Figure.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session):
        self._session = session

    def breakdown(self, by: str = "segment"):
        """Mean time per segment, or per kind, stacked to the mean one-way delay, a bar a direction.

        Parameters
        ----------
        by : {"segment", "kind"}
            Where the time goes, or what it is spent on: processing, queueing, softirq, scheduling.
        """
        return plot.breakdown(self._session.breakdown(by), caption=caption(self._session))

    def ecdf(self, direction: str | None = None, *, tail: bool = False):
        """Distribution of each segment's time.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table, all by default.
        tail : bool
            Draw 1 − F on a logarithmic axis, so that the slowest packets show.

        Raises
        ------
        UnknownName
            No complete journey has that direction.
        """
        table = self._session.journeys()
        table = table[table["complete"]]
        if direction is not None:
            known = table["direction"].unique().tolist()
            if direction not in known:
                raise UnknownName("direction", direction, known)
            table = table[table["direction"] == direction]
        hops = self._session.hops(table["journey"].tolist()) if len(table) else self._session.hops()
        return plot.ecdf(hops, caption=caption(self._session), tail=tail)

    def waterfall(self, journey: int | None = None):
        """One journey, hop by hop; by default the one with the median one-way delay."""
        number = self._session.typical() if journey is None else journey
        return plot.waterfall(self._session.hops(number), caption=caption(self._session))

    def throughput(self, window_s: float = 0.1):
        """Throughput and goodput over time, per direction."""
        return plot.throughput(self._session.throughput(window_s), caption=caption(self._session))

    def drops(self):
        """Dropped packets by reason and place."""
        return plot.drops(self._session.drops(), caption=caption(self._session))

    def ledger(self):
        """What became of the packets at each point."""
        return plot.ledger(self._session.ledger(), caption=caption(self._session))

    def overhead(self):
        """What tracing changed in the workload's own numbers, where it was measured."""
        return plot.overhead(self._session.overhead(), caption=caption(self._session))
