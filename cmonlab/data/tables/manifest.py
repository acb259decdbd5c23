"""What a session's manifest says, in the form in which its tables need it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from cmonlab import schema
from cmonlab.errors import UnknownName

from ..analysis import overhead as _overhead
from ..analysis.aggregate import Context
from ..analysis.kinds import Kinds
from ..analysis.names import Names
from ..analysis.stats import estimated_total
from ..correlation.correlate import Stages

#: Tables whose entry in the manifest has another name.
_STORED_AS = {"trace_gaps": "blind"}
#: Columns of the links that came later.
_LATER = ["lower", "link_netns", "vni", "from_ns", "to_ns"]


class Facts:
    """The manifest of one session, read.

    Parameters
    ----------
    manifest : mapping
        As in ``manifest.json``; what is taken from it is read once.
    """

    def __init__(self, manifest: Mapping):
        self._manifest = manifest

    def table(self, name: str) -> pd.DataFrame:
        """Return a table that stands in the manifest: ``ledger``, ``trace_gaps`` or ``links``."""
        table = pd.DataFrame(self._manifest[_STORED_AS.get(name, name)], columns=schema.columns(name))
        # Sessions of older versions know interfaces without some of the columns.
        return table.assign(**table[_LATER].fillna(0).astype("int64")) if name == "links" else table

    @cached_property
    def stages(self) -> Stages:
        """What each point means."""
        return Stages.of_points(self._manifest["points"])

    @cached_property
    def names(self) -> Names:
        """Names of containers, interfaces and points."""
        addresses6 = {int(key): bytes.fromhex(raw) for key, raw in self._manifest["addresses6"].items()}
        return Names(self.table("links"), addresses6, {p["id"]: p["label"] for p in self._manifest["points"]})

    @cached_property
    def kinds(self) -> Kinds:
        """What a segment's time is spent on."""
        return Kinds({p["id"]: (p["name"], p["stage"]) for p in self._manifest["points"]})

    @cached_property
    def points(self) -> dict[str, int]:
        """Ids of the points that were traced by their names, in the order of a packet's path."""
        return {p["name"]: p["id"] for p in self._manifest["points"]}

    @cached_property
    def reasons(self) -> dict[int, str]:
        """Drop reasons by their number in the records."""
        return {int(number): name for number, name in self._manifest["drop_reasons"].items()}

    @cached_property
    def symbols(self) -> dict[int, str]:
        """Kernel functions by the low half of their address."""
        return {int(low): name for low, name in self._manifest["symbols"].items()}

    @property
    def context(self) -> Context:
        """What the numbers of aggregates mean."""
        slots = {rule["slot"]: rule["name"] for rule in self._manifest["rules"]}
        return Context(self.names, self.stages, self.kinds, self.points, slots)

    @property
    def clock_error_ns(self) -> int:
        """By how much (ns) the clocks of two events may differ: a session is of one host, whose clock is one."""
        return 0

    @cached_property
    def overhead(self) -> pd.DataFrame:
        """Tracing overhead, where it was measured; columns of ``schema.TABLES["overhead"]``."""
        told = self._manifest.get("overhead") or {"samples": {}, "units": {}}
        return _overhead.table(told["samples"], told["units"])

    @cached_property
    def program_times(self) -> pd.DataFrame:
        """Time of the tracer's programs, where measured; columns of ``schema.TABLES["program_times"]``."""
        return _overhead.program_times((self._manifest.get("overhead") or {}).get("programs", {}))

    def rules(self) -> pd.DataFrame:
        """Return one row a rule; columns of ``schema.TABLES["rules"]``."""
        rows = []
        for entry in self._manifest["rules"]:
            rule, (first, last) = entry["rule"], entry["epochs"]
            match, shares = rule["match"], self._shares(entry)
            rows.append(
                {
                    "slot": entry["slot"],
                    "name": entry["name"],
                    "mode": rule.get("mode", "capture"),
                    "expression": match["packets"],
                    "containers": _selected(match),
                    "sample": shares[-1],
                    "sample_min": shares[0],
                    "max_overhead": rule.get("max_overhead") or "",
                    "first_epoch": first,
                    "last_epoch": last,
                }
            )
        return pd.DataFrame(rows, columns=schema.columns("rules"))

    def rules_summary(self) -> str:
        """Return the rules for reading: what each takes, its mode where it is not capture, and its sample."""
        return "; ".join(_told(row) for row in self.rules().itertuples()) or "none"

    def sampled(self) -> str:
        """Return ``"sampled 10%"`` where capture rules take a share of the packets only, else an empty text."""
        shares = {
            (row.sample_min, row.sample): None
            for row in self.rules().sort_values(["sample_min", "sample"]).itertuples()
            if row.mode == "capture" and row.sample_min < 1
        }
        return f"sampled {', '.join(_range(*pair) for pair in shares)}" if shares else ""

    def _shares(self, entry: Mapping) -> list[float]:
        """Return the shares of the packets that a rule took, ascending: of one with a budget, each in its time."""
        rule = entry["rule"]
        mode, changes = rule.get("mode", "capture"), self.budget()
        mine = changes[(changes["rule"] == entry["name"]) & (changes["mode"] == mode)]
        known = sorted(set(mine["sample"])) if rule.get("max_overhead") else []
        return known or [float(rule.get("sample", 1))]

    def budget(self) -> pd.DataFrame:
        """Return one row a change that a budget made; columns of ``schema.TABLES["budget"]``."""
        return pd.DataFrame(self._budget.get("changes", []), columns=schema.columns("budget"))

    @property
    def _budget(self) -> Mapping:
        return self._manifest.get("budget", {})  # sessions of older versions have none

    def budgets_told(self) -> list[str]:
        """Return how the budgets were kept, a sentence a rule."""
        limits = {entry["name"]: entry["rule"].get("max_overhead") for entry in self._manifest["rules"]}
        told = [_kept(limits.get(row["rule"]) or "", row) for row in self._budget.get("kept", [])]
        broken = self._budget.get("error")
        return told + ([f"budgets were not kept to the end: {broken}"] if broken else [])

    def remarks(self) -> list[str]:
        """Return what a session's summary says at its end."""
        missing, told = self._manifest["missing"], self.budgets_told()
        told += [f"this kernel lacked {', '.join(missing)}"] if missing else []
        early_ns = self._manifest.get("blind_from_ns", 0) - self._manifest["recording"].get("started_ns", math.inf)
        if early_ns > 0:
            told.append(f"trace gaps of the first {early_ns / 1e9:.1f} s are not known")
        return told

    def share(self, taken: np.ndarray) -> float:
        """Return the share of the packets that the rules take which took these, NaN where it is not one number.

        Parameters
        ----------
        taken : numpy.ndarray of uint16
            The column ``rules`` of their journeys.
        """
        rules = [entry for entry in self._manifest["rules"] if entry["rule"].get("mode", "capture") == "capture"]
        limited = {row["slot"] for row in self._manifest.get("tallies", []) if row["limited"]}
        shares = [(entry["slot"], float(entry["rule"].get("sample", 1))) for entry in rules]
        if limited & {slot for slot, _ in shares}:
            return math.nan
        if len({share for _, share in shares}) > 1:
            # Several rules: the packet is in the sample of the one that takes most. A bit may have had two owners.
            bits = np.flatnonzero(np.bincount(taken, minlength=1)).tolist()
            shares = [
                (0, max((share for slot, share in shares if word >> slot & 1), default=math.nan)) for word in bits
            ]
        found = {share for _, share in shares}
        return found.pop() if len(found) == 1 else math.nan

    def in_all(self, taken: np.ndarray) -> str:
        """Return how many journeys there were, for reading, given the column ``rules`` of those that were sampled."""
        share = self.share(taken)
        if not share < 1:
            return ""
        every, around = estimated_total(len(taken), share)
        return f", about {every:,.0f} ± {around:,.0f} in all"

    def taken_by(self, name: str, rules: np.ndarray, epoch: np.ndarray) -> tuple[list[Mapping], np.ndarray]:
        """Return a capture rule's entries in the manifest, and which of the events with these bits and epochs it took.

        Raises
        ------
        UnknownName
            No capture rule has this name.
        """
        every = [entry for entry in self._manifest["rules"] if entry["rule"].get("mode", "capture") == "capture"]
        mine = [entry for entry in every if entry["name"] == name]
        if not mine:
            raise UnknownName("capture rule", name, [entry["name"] for entry in every])
        taken = np.zeros(len(rules), bool)
        for entry in mine:
            first, last = entry["epochs"]
            taken |= (rules >> entry["slot"] & 1).astype(bool) & (epoch >= first) & (epoch <= last)
        return mine, taken

    def lost_points(self) -> set[int]:
        """Return the ids of the points where events were lost."""
        lossy = {row["point"] for row in self._manifest["ledger"] if row["lost"]}
        return {number for name, number in self.points.items() if name in lossy}

    def partial(self) -> bool:
        """Tell whether packets were left out by sampling."""
        return bool(self.sampled()) or any(row["sampled_out"] for row in self._manifest["ledger"])

    def breaks(self, epoch: np.ndarray, ts_ns: np.ndarray) -> np.ndarray:
        """Return the times (ns) around which packets may have passed unseen.

        Parameters
        ----------
        epoch, ts_ns : numpy.ndarray, shape (events,)
            Of the events, in order of time: where the rule set changes, a packet may be taken on a
            part of its way only; and so where a budget changes the sample.
        """
        silent = self.table("trace_gaps")[["start_ns", "end_ns"]].to_numpy(np.int64).ravel()
        changed = self.budget()[["start_ns", "end_ns"]].to_numpy(np.int64).ravel()
        changed = changed[(changed > ts_ns[:1].sum()) & (changed < ts_ns[-1:].sum())]
        return np.concatenate([silent, changed, ts_ns[1:][epoch[1:] != epoch[:-1]]])


def _selected(match: Mapping) -> str:
    """Return how a rule selects containers, for reading."""
    chosen = {kind: values for kind, values in (match.get("containers") or {}).items() if values}
    words = [f"{kind} {' or '.join(values)}" for kind, values in chosen.items()]
    way = {"in": ", to them", "out": ", from them"}.get(match.get("direction", ""), "")
    return " and ".join(words) + way


def _range(low: float, high: float) -> str:
    """Return a share of the packets, or between which it varied."""
    return f"{100 * high:.3g}%" if low == high else f"{100 * low:.3g}% to {100 * high:.3g}%"


def _kept(limit: str, row: Mapping) -> str:
    """Return how a rule's budget was kept."""
    if not row["measurements"]:
        return f"budget of {row['rule']}, {limit}: never measured, too few packets"
    mean, highest = (
        f"{100 * row[one]:.3g}%" if limit.endswith("%") else f"{row[one]:,.0f}ns" for one in ("mean", "highest")
    )
    return (
        f"budget of {row['rule']}, {limit}: {mean} on average, {highest} at most; "
        f"over it in {row['over']} of {row['measurements']} measurements"
    )


def _told(row) -> str:
    notes = [row.mode] if row.mode != "capture" else []
    notes += [f"sampled {_range(row.sample_min, row.sample)}"] if row.sample_min < 1 else []
    notes += [f"at most {row.max_overhead}"] if row.max_overhead else []
    what = row.expression or "all IP packets"
    where = f" of containers {row.containers}" if row.containers else ""
    return f"{what}{where}" + (f" ({', '.join(notes)})" if notes else "")
