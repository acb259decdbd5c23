"""What a session sums up to: the tables that an artifact expects of it."""

from __future__ import annotations

import pandas as pd

from ..session import Session

#: Tables that follow from the recording alone, of a few rows each.
NAMES = ("breakdown", "loss", "segments", "ledger", "rules")


def tables(session: Session) -> dict[str, pd.DataFrame]:
    """Return the tables that are recomputed and compared, by name."""
    every = {name: session.table(name) for name in NAMES}
    return {"summary": summary(session), "breakdown_by_kind": session.breakdown(by="kind"), **every}


def summary(session: Session) -> pd.DataFrame:
    """Return one row a direction, and one for all of them: journeys, how they ended, their one-way delay."""
    journeys = session.journeys()
    parts = [("all", journeys), *journeys.groupby("direction", observed=True, sort=True)]
    return pd.DataFrame([{"direction": str(direction), **_row(mine)} for direction, mine in parts])


def _row(journeys: pd.DataFrame) -> dict:
    complete = journeys.loc[journeys["complete"], "one_way_delay_ns"]
    p50, p99 = (float(complete.quantile(quantile)) for quantile in (0.5, 0.99))
    return {
        "journeys": len(journeys), "complete": len(complete), "dropped": int((journeys["outcome"] == "dropped").sum()),
        "hops": int(journeys["hops"].sum()), "one_way_delay_p50_ns": p50, "one_way_delay_p99_ns": p99,
        "one_way_delay_mean_ns": float(complete.mean()),
    }  # fmt: skip
