"""The manifest of a recording: what a session says about its host, its rules and itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cmonlab.system import host

if TYPE_CHECKING:
    from cmonlab.points.catalogue import Point
    from cmonlab.rules import Plan, Rule
    from cmonlab.tracing.active_rules import Ledger
    from cmonlab.tracing.active_rules import Rule as ActiveRule


def of_host() -> dict[str, Any]:
    """Return the entries that depend on this machine and this software only.

    Returns
    -------
    dict
        abi, created, host, clock, missing, drop_reasons.
    """
    from cmonlab.tracing.kernel import symbols
    from cmonlab.tracing.kernel.btf import vmlinux
    from cmonlab.tracing.kernel.loader import abi
    from cmonlab.tracing.kernel.programs import missing

    btf = vmlinux()
    return {
        "abi": abi(),
        "created": host.now(),
        "host": host.host() | {"btf_sha256": btf.digest},
        "clock": host.clock(),
        "missing": [point.name for point in missing() if "default" in point.groups],
        "drop_reasons": symbols.drop_reasons(btf.enum("skb_drop_reason")),
    }


def of_rules(active: Iterable[ActiveRule], rules: Mapping[Plan, Rule], epoch: int) -> list[dict[str, Any]]:
    """Return the entries of the rules that were active.

    Parameters
    ----------
    active : iterable of ActiveRule
        The tracer's history.
    rules : mapping of Plan to Rule
        The rule that each plan was compiled from, as the user wrote it.
    epoch : int
        The last epoch.

    Returns
    -------
    list of dict
        slot, name, rule, epochs (first and last).
    """
    return [
        {
            "slot": one.slot,
            "name": one.plan.name,
            "rule": rules[one.plan].model_dump(mode="json"),
            "epochs": [one.first, one.last or epoch],
        }
        for one in active
    ]


def of_recording(
    *,
    points: Sequence[Point],
    ledgers: Iterable[Ledger],
    tallies: Sequence[Mapping[str, Any]],
    trace_gaps: Sequence[tuple[int, int, int]],
    addresses6: Mapping[int, bytes],
    code: Iterable[int],
) -> dict[str, Any]:
    """Return the entries with the results of the tracer.

    Parameters
    ----------
    points : sequence of Point
        Points of all rules.
    ledgers : iterable of Ledger
        The ledgers of this recording's epochs.
    tallies : sequence of mapping
        As in `cmonlab.tracing.tracer.Recording`.
    trace_gaps : sequence of (int, int, int)
        CPU, start and end in ns of CLOCK_MONOTONIC.
    addresses6 : mapping of int to bytes
        Key in the events → IPv6 address.
    code : iterable of int
        Low 32 bits of the code addresses in the events.

    Returns
    -------
    dict
        points, symbols, addresses6, "blind" (the trace gaps), ledger, tallies.
    """
    from cmonlab.tracing.kernel import symbols

    return {
        "points": [asdict(point) | {"groups": list(point.groups)} for point in points],
        "symbols": symbols.symbols(code),
        "addresses6": {str(key): raw.hex() for key, raw in addresses6.items()},
        "blind": [{"cpu": cpu, "start_ns": start, "end_ns": end} for cpu, start, end in trace_gaps],
        "ledger": [{"point": name, **row} for name, row in _total(ledgers).items()],
        "tallies": list(tallies),
    }


def _total(ledgers: Iterable[Ledger]) -> Ledger:
    total: Ledger = {}
    for ledger in ledgers:
        for point, row in ledger.items():
            sums = total.setdefault(point, dict.fromkeys(row, 0))
            for fate, packets in row.items():
                sums[fate] += packets
    return total
