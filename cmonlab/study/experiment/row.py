"""One finished run as a row of an experiment's table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cmonlab.errors import SessionError, UnknownName

from ..compare import metrics

if TYPE_CHECKING:
    from cmonlab.session.session import Session

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


def row(session: Session, direction: str | None = None) -> dict[str, Any]:
    """Return the metrics of a run.

    Parameters
    ----------
    session : Session
        Session of the run.
    direction : str, optional
        Direction of the packets, for instance ``"c1 → c0"``; by default all directions together.

    Returns
    -------
    dict of str to object
        Column → value; see `Results.table`.

    Raises
    ------
    UnknownName
        No packet has that direction.
    """
    manifest = session.manifest
    delay = _values(session, "one_way_delay", direction)
    delays = np.concatenate([np.empty(0), *delay])
    loss = np.concatenate([np.empty(0), *_values(session, "loss", direction)])
    rate = [values.mean() for values in _values(session, "throughput", direction)]
    found = np.quantile(delays, [*_QUANTILES.values()]) if len(delays) else np.full(len(_QUANTILES), np.nan)
    return {
        "started": manifest.get("created", ""),
        "seconds": manifest["recording"].get("seconds", math.nan),
        "complete_journeys": len(delays),
        "lost_events": session.lost_events,
        "trace_gap_ns": session.trace_gap_ns,
        **{f"one_way_delay_{name}_ns": float(value) for name, value in zip(_QUANTILES, found, strict=True)},
        "one_way_delay_mean_ns": float(delays.mean()) if len(delays) else math.nan,
        "throughput_bps": float(sum(rate)) if rate else math.nan,
        "loss": float(loss.mean()) if len(loss) else math.nan,
        **(manifest.get("workload") or {}).get("metrics", {}),
    }


def _values(session: Session, metric: str, direction: str | None) -> list[np.ndarray]:
    try:
        found = metrics.read(session, metric).by_direction
    except SessionError:
        return []
    if direction is not None and direction not in found:
        raise UnknownName("direction", direction, found)
    return list(found.values()) if direction is None else [found[direction]]
