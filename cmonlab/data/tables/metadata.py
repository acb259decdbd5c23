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

    def blind(self) -> pd.DataFrame:
        """When tracepoints were silent and packets may have passed unseen; columns of ``schema.describe("blind")``."""
        return self.facts.table("blind")

    def links(self) -> pd.DataFrame:
        """Every interface that was there; columns of ``schema.describe("links")``."""
        return self.facts.table("links")

    def overhead(self) -> pd.DataFrame:
        """What tracing cost the workload, where it was measured; columns of ``schema.describe("overhead")``."""
        return self.facts.overhead.copy()

    def program_times(self) -> pd.DataFrame:
        """For how long the observer's programs run, where overhead was measured.

        Columns of ``schema.describe("program_times")``.
        """
        return self.facts.program_times.copy()
