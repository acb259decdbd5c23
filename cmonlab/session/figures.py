"""The figures of a session: each draws one of its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmonlab import plot
from cmonlab.errors import UnknownName

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from .session import Session


class Figures:
    """``session.plot``: one method per figure.

    Each figure has a caption with the number of journeys, the lost events and the tracing overhead. A figure without
    data says so in a sentence; that is not an error.

    Parameters
    ----------
    session : Session
        The session whose tables are drawn.
    """

    def __init__(self, session: Session):
        self._session = session

    def breakdown(self, by: str = "segment") -> go.Figure:
        """Draw the mean one-way delay of each direction as a bar of its parts.

        Parameters
        ----------
        by : {"segment", "kind"}
            The parts: the segments of the path, or the kinds of time (processing, queueing, softirq, scheduling).

        Returns
        -------
        Figure
            One bar per direction, in µs; the parts add up to the mean one-way delay.

        Raises
        ------
        UnknownName
            `by` is something else.
        """
        return plot.breakdown(self._session.breakdown(by), caption=self._session.caption())

    def ecdf(self, direction: str | None = None, *, tail: bool = False) -> go.Figure:
        """Draw the empirical distribution of the time in each segment.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table, for instance ``"c1 → c0"``; all by default.
        tail : bool
            Draw 1 − F on a logarithmic axis, which shows the slowest packets.

        Returns
        -------
        Figure
            One curve per segment: share of packets (%) over time in the segment (µs, logarithmic).

        Raises
        ------
        UnknownName
            No complete journey has that direction.
        """
        return plot.ecdf(self._hops(direction), caption=self._session.caption(), tail=tail)

    def ridgeline(self, direction: str | None = None) -> go.Figure:
        """Draw the density of the time in each segment.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table; all by default.

        Returns
        -------
        Figure
            One row per segment, in the order of the path; time in µs, logarithmic.

        Raises
        ------
        UnknownName
            No complete journey has that direction.
        """
        return plot.ridgeline(self._hops(direction), caption=self._session.caption())

    def _complete(self, direction: str | None) -> pd.DataFrame:
        """Return the complete journeys of one direction, or of all."""
        table = self._session.journeys()
        table = table[table["complete"]]
        if direction is None:
            return table
        known = table["direction"].unique().tolist()
        if direction not in known:
            raise UnknownName("direction", direction, known)
        return table[table["direction"] == direction]

    def _hops(self, direction: str | None) -> pd.DataFrame:
        return self._session.hops(self._complete(direction)["journey"].tolist())

    def waterfall(self, journey: int | None = None) -> go.Figure:
        """Draw one journey, hop by hop.

        Parameters
        ----------
        journey : int, optional
            Its number; by default the journey with the median one-way delay.

        Returns
        -------
        Figure
            One row per hop, with the segment that ends there, in µs since the first hop.

        Raises
        ------
        UnknownName
            There is no such journey.
        """
        number = self._session.typical() if journey is None else journey
        return plot.waterfall(self._session.hops(number), caption=self._session.caption())

    def throughput(self, window_s: float = 0.1) -> go.Figure:
        """Draw throughput and goodput over time.

        Parameters
        ----------
        window_s : float
            Length of a window in seconds.

        Returns
        -------
        Figure
            Two lines per direction, in bit/s.
        """
        return plot.throughput(self._session.throughput(window_s), caption=self._session.caption())

    def timeline(self, window_s: float = 0.1) -> go.Figure:
        """Draw delay, throughput, drops and trace gaps over time.

        Parameters
        ----------
        window_s : float
            Length of a window in seconds.

        Returns
        -------
        Figure
            Four panels with a common time axis.
        """
        return plot.timeline(self._session.timeline(window_s), caption=self._session.caption())

    def heatmap(self, direction: str | None = None, *, slice_s: float | None = None, share: bool = False) -> go.Figure:
        """Draw the distribution of the one-way delay over time, as a heat map.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table; by default those with the most packets.
        slice_s : float, optional
            Length of a time slice in seconds; by default a round one that makes 60 to 120 slices.
        share : bool
            Colour by the share of the slice's packets instead of their number.

        Returns
        -------
        Figure
            One panel per direction: delay (µs, logarithmic) over time.

        Raises
        ------
        UnknownName
            No complete journey has that direction.
        """
        table = self._complete(direction)
        return plot.heatmap(table, caption=self._session.caption(), slice_s=slice_s, share=share)

    def one_way_delay(self) -> go.Figure:
        """Draw range and quantiles of the one-way delay, one row per direction (µs, logarithmic)."""
        return plot.one_way_delay(self._session.one_way_delay(), caption=self._session.caption())

    def tail(self, direction: str | None = None, quantile: float = 0.99) -> go.Figure:
        """Draw which segments make the slow packets slower than the median, and by how much.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table; all by default.
        quantile : float
            The quantile of the one-way delay to explain, above 0.5 and below 1.

        Returns
        -------
        Figure
            One panel per direction: the median, the part of each segment, and the quantile, in µs.

        Raises
        ------
        UnknownName
            No complete journey has that direction.
        ValueError
            `quantile` is not between 0.5 and 1.
        """
        return plot.tail(self._session.where_is_the_tail(direction, quantile), caption=self._session.caption())

    def sankey(self) -> go.Figure:
        """Draw the paths of packets from interface to interface; dropped packets end in a node for their reason."""
        return plot.sankey(self._session.journeys(), caption=self._session.caption())

    def topology(self, by: str = "delay") -> go.Figure:
        """Draw how containers, bridges and tunnels are connected, and what crossed each edge.

        Parameters
        ----------
        by : {"delay", "throughput", "loss"}
            What the colours of edges mean.

        Returns
        -------
        Figure
            Nodes and edges; a cross marks an edge on which packets were dropped.

        Raises
        ------
        UnknownName
            `by` is something else.
        """
        tables = self._session.topology(), self._session.edges()
        return plot.topology(*tables, by=by, caption=self._session.caption())

    def flow_matrix(self, by: str = "delay") -> go.Figure:
        """Draw each pair of source and destination as a cell of a matrix.

        The numbers come from aggregate rules if the session has any, else from its events.

        Parameters
        ----------
        by : {"delay", "throughput", "loss"}
            What the colours of cells mean.

        Returns
        -------
        Figure
            One row per source, one column per destination.

        Raises
        ------
        UnknownName
            `by` is something else.
        """
        return plot.flow_matrix(self._session.pairs(), by=by, caption=self._session.caption())

    def drop_map(self) -> go.Figure:
        """Draw the number of dropped packets by place and drop reason, as a heat map with their journeys."""
        return plot.drop_map(self._session.drops(), caption=self._session.caption())

    def drops(self) -> go.Figure:
        """Draw the number of dropped packets, one bar per drop reason, divided by place."""
        return plot.drops(self._session.drops(), caption=self._session.caption())

    def ledger(self) -> go.Figure:
        """Draw what became of the packets that each point saw, lost events among them; one bar per point."""
        return plot.ledger(self._session.ledger(), caption=self._session.caption())

    def overhead(self) -> go.Figure:
        """Draw how tracing changed the workload's own metrics, in percent, if that was measured."""
        return plot.overhead(self._session.overhead(), caption=self._session.caption())
