"""The tables of a session that an artifact stores and compares."""

from __future__ import annotations

import pandas as pd

from cmonlab.session.session import Session

#: Tables that depend on the recording only, and have few rows.
NAMES = ("one_way_delay", "delay_variation", "breakdown", "loss", "segments", "ledger", "rules")


def tables(session: Session) -> dict[str, pd.DataFrame]:
    """Return the tables of a session that are stored and compared, by name."""
    every = {name: session.table(name) for name in NAMES}
    counts = session.journeys().groupby(["direction", "outcome"], observed=True).size()
    return every | {
        "breakdown_by_kind": session.breakdown(by="kind"),
        "outcomes": counts.rename("journeys").reset_index(),
    }
