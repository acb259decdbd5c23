"""The manifest of a session, in the form that tables need."""

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

#: Tables whose entry in the manifest has another name → that name.
_STORED_AS = {"trace_gaps": "blind"}
#: Columns of the links that older sessions do not have.
_LATER = ["lower", "link_netns", "vni", "from_ns", "to_ns"]


class Manifest:
    """The manifest of a session.

    Parameters
    ----------
    manifest : mapping
        Content of ``manifest.json``. It must not change later, because values are kept once they were read.
    """

    def __init__(self, manifest: Mapping):
        self._manifest = manifest

    def table(self, name: str) -> pd.DataFrame:
        """Return a table that is stored in the manifest: ``ledger``, ``trace_gaps`` or ``links``."""
        table = pd.DataFrame(self._manifest[_STORED_AS.get(name, name)], columns=schema.columns(name))
        # Older sessions do not have all of the columns.
        return table.assign(**table[_LATER].fillna(0).astype("int64")) if name == "links" else table

    @cached_property
    def stages(self) -> Stages:
        """The stage of each point."""
        return Stages.of_points(self._manifest["points"])

    @cached_property
    def names(self) -> Names:
        """Names of containers, interfaces, addresses and points."""
        addresses6 = {int(key): bytes.fromhex(raw) for key, raw in self._manifest["addresses6"].items()}
        return Names(self.table("links"), addresses6, {p["id"]: p["label"] for p in self._manifest["points"]})

    @cached_property
    def kinds(self) -> Kinds:
        """What the time of each segment is spent on."""
        return Kinds({p["id"]: (p["name"], p["stage"]) for p in self._manifest["points"]})

    @cached_property
    def points(self) -> dict[str, int]:
        """Name → id of the points that were traced, in the order of a packet's path."""
        return {p["name"]: p["id"] for p in self._manifest["points"]}

    @cached_property
    def reasons(self) -> dict[int, str]:
        """Number in the events → drop reason."""
        return {int(number): name for number, name in self._manifest["drop_reasons"].items()}

    @cached_property
    def symbols(self) -> dict[int, str]:
        """Low half of the address → name of the kernel function."""
        return {int(low): name for low, name in self._manifest["symbols"].items()}

    @property
    def context(self) -> Context:
        """Names and meanings of the numbers in aggregates."""
        slots = {rule["slot"]: rule["name"] for rule in self._manifest["rules"]}
        return Context(self.names, self.stages, self.kinds, self.points, slots)

    @property
    def clock_error_ns(self) -> int:
        """Largest difference (ns) between the clocks of two events: 0, as a session is recorded on one host."""
        return 0

    @cached_property
    def overhead(self) -> pd.DataFrame:
        """Tracing overhead; columns of ``schema.describe("overhead")``, no row if it was not measured."""
        measured = self._manifest.get("overhead") or {"samples": {}, "units": {}}
        return _overhead.table(measured["samples"], measured["units"])

    @cached_property
    def program_times(self) -> pd.DataFrame:
        """Run times of the tracer's programs; columns of ``schema.describe("program_times")``."""
        return _overhead.program_times((self._manifest.get("overhead") or {}).get("programs", {}))

    def rules(self) -> pd.DataFrame:
        """Return one row per rule; columns of ``schema.describe("rules")``."""
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
        """Return the rules as text: what each records, its mode if it is not capture, and its sample."""
        return "; ".join(_rule_summary(row) for row in self.rules().to_dict("records")) or "none"

    def sampled(self) -> str:
        """Return ``"sampled 10%"`` if capture rules record only a share of the packets, else an empty text."""
        shares = {
            (row.sample_min, row.sample): None
            for row in self.rules().sort_values(["sample_min", "sample"]).itertuples()
            if row.mode == "capture" and row.sample_min < 1
        }
        return f"sampled {', '.join(_range(*pair) for pair in shares)}" if shares else ""

    def _shares(self, entry: Mapping) -> list[float]:
        """Return the shares of the packets that a rule recorded, ascending; a rule with a budget may have several."""
        rule = entry["rule"]
        mode, changes = rule.get("mode", "capture"), self.budget()
        mine = changes[(changes["rule"] == entry["name"]) & (changes["mode"] == mode)]
        known = sorted(set(mine["sample"])) if rule.get("max_overhead") else []
        return known or [float(rule.get("sample", 1))]

    def budget(self) -> pd.DataFrame:
        """Return one row per change that a budget made; columns of ``schema.describe("budget")``."""
        return pd.DataFrame(self._budget.get("changes", []), columns=schema.columns("budget"))

    @property
    def _budget(self) -> Mapping:
        return self._manifest.get("budget", {})  # sessions of older versions have none

    def budget_sentences(self) -> list[str]:
        """Return one sentence per rule with a budget: whether the budget was kept."""
        limits = {entry["name"]: entry["rule"].get("max_overhead") for entry in self._manifest["rules"]}
        sentences = [_kept(limits.get(row["rule"]) or "", row) for row in self._budget.get("kept", [])]
        broken = self._budget.get("error")
        return sentences + ([f"budgets were not kept to the end: {broken}"] if broken else [])

    def remarks(self) -> list[str]:
        """Return the sentences at the end of a session's summary."""
        missing, sentences = self._manifest["missing"], self.budget_sentences()
        sentences += [f"this kernel lacked {', '.join(missing)}"] if missing else []
        early_ns = self._manifest.get("blind_from_ns", 0) - self._manifest["recording"].get("started_ns", math.inf)
        if early_ns > 0:
            sentences.append(f"trace gaps of the first {early_ns / 1e9:.1f} s are not known")
        return sentences

    def share(self, taken: np.ndarray) -> float:
        """Return the share of the packets that was sampled.

        Parameters
        ----------
        taken : numpy.ndarray of uint16, shape (journeys,)
            Column ``rules`` of the journeys: one bit for each rule that recorded the packet.

        Returns
        -------
        float
            Above 0 and up to 1; NaN if it is not a single number, because rules differ or a rule had a limit.
        """
        rules = [entry for entry in self._manifest["rules"] if entry["rule"].get("mode", "capture") == "capture"]
        limited = {row["slot"] for row in self._manifest.get("tallies", []) if row["limited"]}
        shares = [(entry["slot"], float(entry["rule"].get("sample", 1))) for entry in rules]
        if limited & {slot for slot, _ in shares}:
            return math.nan
        if len({share for _, share in shares}) > 1:
            # The greatest share of the packet's rules counts. Two rules may have had the same bit in succession.
            bits = np.flatnonzero(np.bincount(taken, minlength=1)).tolist()
            shares = [
                (0, max((share for slot, share in shares if word >> slot & 1), default=math.nan)) for word in bits
            ]
        found = {share for _, share in shares}
        return found.pop() if len(found) == 1 else math.nan

    def in_all(self, taken: np.ndarray) -> str:
        """Return the estimated number of all journeys as text, given the column ``rules`` of the sampled ones."""
        share = self.share(taken)
        if not share < 1:
            return ""
        every, around = estimated_total(len(taken), share)
        return f", about {every:,.0f} ± {around:,.0f} in all"

    def taken_by(self, name: str, rules: np.ndarray, epoch: np.ndarray) -> tuple[list[Mapping], np.ndarray]:
        """Return which events a capture rule recorded.

        Parameters
        ----------
        name : str
            Name of the rule.
        rules, epoch : numpy.ndarray of uint16, shape (events,)
            Columns of the events.

        Returns
        -------
        entries : list of mapping
            The rule's entries in the manifest.
        taken : numpy.ndarray of bool, shape (events,)
            Which events it recorded.

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
        """Return whether packets were left out by sampling."""
        return bool(self.sampled()) or any(row["sampled_out"] for row in self._manifest["ledger"])

    def breaks(self, epoch: np.ndarray, ts_ns: np.ndarray) -> np.ndarray:
        """Return the times around which packets may have passed points without an event.

        These are the ends of trace gaps, and changes of the rules or of a sample: then a packet may be recorded on a
        part of its path only.

        Parameters
        ----------
        epoch : numpy.ndarray of uint16, shape (events,)
            Epochs of the events, in order of time.
        ts_ns : numpy.ndarray of int64, shape (events,)
            Their times, ns.

        Returns
        -------
        numpy.ndarray of int64
            Times in ns, not sorted.
        """
        gaps = self.table("trace_gaps")[["start_ns", "end_ns"]].to_numpy(np.int64).ravel()
        changed = self.budget()[["start_ns", "end_ns"]].to_numpy(np.int64).ravel()
        changed = changed[(changed > ts_ns[:1].sum()) & (changed < ts_ns[-1:].sum())]
        return np.concatenate([gaps, changed, ts_ns[1:][epoch[1:] != epoch[:-1]]])


def _selected(match: Mapping) -> str:
    """Return how a rule selects containers, as text."""
    chosen = {kind: values for kind, values in (match.get("containers") or {}).items() if values}
    words = [f"{kind} {' or '.join(values)}" for kind, values in chosen.items()]
    direction = {"in": ", to them", "out": ", from them"}.get(match.get("direction", ""), "")
    return " and ".join(words) + direction


def _range(low: float, high: float) -> str:
    """Return a share of the packets as text, or its range if it varied."""
    return f"{100 * high:.3g}%" if low == high else f"{100 * low:.3g}% to {100 * high:.3g}%"


def _kept(limit: str, row: Mapping) -> str:
    """Return a sentence that says whether a rule's budget was kept."""
    if not row["measurements"]:
        return f"budget of {row['rule']}, {limit}: never measured, too few packets"
    mean, highest = (
        f"{100 * row[one]:.3g}%" if limit.endswith("%") else f"{row[one]:,.0f}ns" for one in ("mean", "highest")
    )
    return (
        f"budget of {row['rule']}, {limit}: {mean} on average, {highest} at most; "
        f"over it in {row['over']} of {row['measurements']} measurements"
    )


def _rule_summary(row: Mapping) -> str:
    """Return a row of the rules table as text."""
    details = [row["mode"]] if row["mode"] != "capture" else []
    details += [f"sampled {_range(row['sample_min'], row['sample'])}"] if row["sample_min"] < 1 else []
    details += [f"at most {row['max_overhead']}"] if row["max_overhead"] else []
    what = row["expression"] or "all IP packets"
    where = f" of containers {row['containers']}" if row["containers"] else ""
    return f"{what}{where}" + (f" ({', '.join(details)})" if details else "")
