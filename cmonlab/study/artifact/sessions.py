"""What a session sums up to: the tables that an artifact expects of it."""

from __future__ import annotations

import pandas as pd

from cmonlab.session.session import Session

#: Tables that follow from the recording alone, of a few rows each.
NAMES = ("one_way_delay", "delay_variation", "breakdown", "loss", "segments", "ledger", "rules")


def tables(session: Session) -> dict[str, pd.DataFrame]:
    """Return the tables that are computed again and compared, by name."""
    every = {name: session.table(name) for name in NAMES}
    counts = session.journeys().groupby(["direction", "outcome"], observed=True).size()
    return every | {
        "breakdown_by_kind": session.breakdown(by="kind"),
        "outcomes": counts.rename("journeys").reset_index(),
    }
