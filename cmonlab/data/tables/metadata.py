"""Tables that are stored in the manifest."""

from __future__ import annotations

import pandas as pd

from .source import SessionData


class MetadataTables(SessionData):
    """Rules, ledger, interfaces, overhead: tables that describe the recording."""

    def rules(self) -> pd.DataFrame:
        """Return the rules of the recording.

        Returns
        -------
        pandas.DataFrame
            One row per rule; columns of ``schema.describe("rules")``.
        """
        return self.facts.rules()

    def budget(self) -> pd.DataFrame:
        """Return the changes that overhead budgets made to rules.

        Returns
        -------
        pandas.DataFrame
            One row per change; columns of ``schema.describe("budget")``.
        """
        return self.facts.budget()

    def ledger(self) -> pd.DataFrame:
        """Return how many packets were seen, recorded, sampled out and lost at each point.

        Returns
        -------
        pandas.DataFrame
            One row per point; columns of ``schema.describe("ledger")``.
        """
        return self.facts.table("ledger")

    def trace_gaps(self) -> pd.DataFrame:
        """Return the intervals in which tracepoints did not fire, so that packets may have passed without an event.

        Returns
        -------
        pandas.DataFrame
            One row per interval and CPU; columns of ``schema.describe("trace_gaps")``; times in ns.
        """
        return self.facts.table("trace_gaps")

    def links(self) -> pd.DataFrame:
        """Return all network interfaces that existed during the recording.

        Returns
        -------
        pandas.DataFrame
            One row per interface, or more if it changed; columns of ``schema.describe("links")``.
        """
        return self.facts.table("links")

    def overhead(self) -> pd.DataFrame:
        """Return the tracing overhead: by how much each tracer changed the workload's metrics.

        Returns
        -------
        pandas.DataFrame
            One row per tracer and metric; columns of ``schema.describe("overhead")``. No row if it was not measured.
        """
        return self.facts.overhead.copy()

    def program_times(self) -> pd.DataFrame:
        """Return the run times of the tracer's programs.

        Returns
        -------
        pandas.DataFrame
            One row per tracer and point; columns of ``schema.describe("program_times")``; times in ns. No row if
            overhead was not measured.
        """
        return self.facts.program_times.copy()
