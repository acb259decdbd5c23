"""A breakdown is checked against the single hops."""

import numpy as np
import pytest

from cmonlab.data.analysis.times import QUANTILES


def check_breakdown(session):
    """Check the breakdown against the single hops."""
    journeys, hops, breakdown = session.journeys(), session.hops(), session.breakdown()
    complete = journeys[journeys["complete"]].set_index("journey")
    segments = hops[hops["segment"] != ""]
    assert hops.groupby("journey")["segment_ns"].sum().equals(complete["one_way_delay_ns"].rename("segment_ns"))
    assert (hops["offset_ns"] == hops["ts_ns"] - hops["journey"].map(complete["start_ns"])).all()
    assert breakdown["n"].sum() == len(segments)
    assert not breakdown.duplicated(["direction", "segment"]).any()
    direction = complete["direction"].astype(str).loc[segments["journey"]].to_numpy()
    for row in breakdown.itertuples():
        times = segments["segment_ns"].to_numpy()[
            (segments["segment"] == row.segment).to_numpy() & (direction == row.direction)
        ]
        assert row.n == len(times)
        assert row.mean_ns == pytest.approx(times.mean())
        for name, quantile in QUANTILES.items():
            assert getattr(row, name) == pytest.approx(np.quantile(times, quantile))
    assert breakdown.groupby("direction", observed=True)["share"].sum().to_numpy() == pytest.approx(1)
