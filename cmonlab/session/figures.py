"""The figures of a session: its tables, drawn, with what every reader must know below."""

from __future__ import annotations

from cmonlab import plot
from cmonlab.errors import UnknownName


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
        return plot.breakdown(self._session.breakdown(by), caption=self._session.caption())

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
        return plot.ecdf(self._hops(direction), caption=self._session.caption(), tail=tail)

    def ridgeline(self, direction: str | None = None):
        """Density of each segment's time, a row a segment in the order of the path.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table, all by default.

        Raises
        ------
        UnknownName
            No complete journey has that direction.
        """
        return plot.ridgeline(self._hops(direction), caption=self._session.caption())

    def _complete(self, direction: str | None):
        """Return the complete journeys, all or of one direction."""
        table = self._session.journeys()
        table = table[table["complete"]]
        if direction is None:
            return table
        known = table["direction"].unique().tolist()
        if direction not in known:
            raise UnknownName("direction", direction, known)
        return table[table["direction"] == direction]

    def _hops(self, direction: str | None):
        return self._session.hops(self._complete(direction)["journey"].tolist())

    def waterfall(self, journey: int | None = None):
        """One journey, hop by hop; by default the one with the median one-way delay."""
        number = self._session.typical() if journey is None else journey
        return plot.waterfall(self._session.hops(number), caption=self._session.caption())

    def throughput(self, window_s: float = 0.1):
        """Throughput and goodput over time, per direction."""
        return plot.throughput(self._session.throughput(window_s), caption=self._session.caption())

    def timeline(self, window_s: float = 0.1):
        """Delay, throughput and drops over time, below each other."""
        return plot.timeline(self._session.timeline(window_s), caption=self._session.caption())

    def heatmap(self, direction: str | None = None, *, slice_s: float | None = None, share: bool = False):
        """How the one-way delay is distributed in each slice of time.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table; by default those with the most packets.
        slice_s : float, optional
            Length of a slice in seconds.
        share : bool
            Colour by the share of the slice's packets, not by their number.

        Raises
        ------
        UnknownName
            No complete journey has that direction.
        """
        table = self._complete(direction)
        return plot.heatmap(table, caption=self._session.caption(), slice_s=slice_s, share=share)

    def one_way_delay(self):
        """Range and quantiles of each direction's one-way delay."""
        return plot.one_way_delay(self._session.one_way_delay(), caption=self._session.caption())

    def tail(self, direction: str | None = None, quantile: float = 0.99):
        """Which segments lead from the median of the one-way delay to a high quantile, and by how much.

        Raises
        ------
        UnknownName
            No complete journey has that direction.
        """
        return plot.tail(self._session.where_is_the_tail(direction, quantile), caption=self._session.caption())

    def sankey(self):
        """Paths of packets by interface; what was dropped ends in a sink of its reason."""
        return plot.sankey(self._session.journeys(), caption=self._session.caption())

    def topology(self, by: str = "delay"):
        """What is connected to what, each edge coloured by what crossed it.

        Parameters
        ----------
        by : {"delay", "throughput", "loss"}
            What colours mean.
        """
        tables = self._session.topology(), self._session.edges()
        return plot.topology(*tables, by=by, caption=self._session.caption())

    def flow_matrix(self, by: str = "delay"):
        """Each pair of source and destination as a cell; of aggregates where there are any, else of events.

        Parameters
        ----------
        by : {"delay", "throughput", "loss"}
            What colours mean.
        """
        return plot.flow_matrix(self._session.pairs(), by=by, caption=self._session.caption())

    def drop_map(self):
        """Dropped packets by place and reason, with their journeys."""
        return plot.drop_map(self._session.drops(), caption=self._session.caption())

    def drops(self):
        """Dropped packets by reason and place."""
        return plot.drops(self._session.drops(), caption=self._session.caption())

    def ledger(self):
        """What became of the packets at each point."""
        return plot.ledger(self._session.ledger(), caption=self._session.caption())

    def overhead(self):
        """What tracing changed in the workload's own numbers, where it was measured."""
        return plot.overhead(self._session.overhead(), caption=self._session.caption())
