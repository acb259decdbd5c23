"""The tables that stand in the manifest."""

from __future__ import annotations

import pandas as pd

from .source import Base


class Told(Base):
    """Rules, ledger, interfaces, overhead: what surrounds the events."""

    def rules(self) -> pd.DataFrame:
        """One row a rule; columns of ``schema.describe("rules")``."""
        return self.facts.rules()

    def budget(self) -> pd.DataFrame:
        """One row a change that a rule's budget made; columns of ``schema.describe("budget")``."""
        return self.facts.budget()

    def ledger(self) -> pd.DataFrame:
        """What became of the packets at each point; columns of ``schema.describe("ledger")``."""
        return self.facts.table("ledger")

    def trace_gaps(self) -> pd.DataFrame:
        """Intervals in which tracepoints did not fire and packets may have passed unseen.

        Columns of ``schema.describe("trace_gaps")``.
        """
        return self.facts.table("trace_gaps")

    def links(self) -> pd.DataFrame:
        """Every interface that was there; columns of ``schema.describe("links")``."""
        return self.facts.table("links")

    def overhead(self) -> pd.DataFrame:
        """What tracing cost the workload, where it was measured; columns of ``schema.describe("overhead")``."""
        return self.facts.overhead.copy()

    def program_times(self) -> pd.DataFrame:
        """For how long the tracer's programs run, where overhead was measured.

        Columns of ``schema.describe("program_times")``.
        """
        return self.facts.program_times.copy()
