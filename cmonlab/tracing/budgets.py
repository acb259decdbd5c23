"""Rules with a budget, while they are at work: measured, lowered and raised, and every change written down."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from cmonlab.errors import CmonlabError
from cmonlab.points.catalogue import BY_NAME, groups
from cmonlab.rules import Plan, Rule, points_of, threshold
from cmonlab.rules.budget import COST_NS, Controller, Level

from .cost import Cost, Meter
from .tracer import Tracer

_log = logging.getLogger(__name__)

_KEPT = 7200  # measurements, the latest ones: an hour
_BEGIN = "rules with a budget begin with the lowest sample"
_COUNTED = ("path", "drops")  # what is left of the points `default` where a rule has fallen back to mode count
_KNOWN = {*BY_NAME, *groups(), "all"}


@dataclass(frozen=True)
class Change:
    """One change of how much a rule takes; a row of the table ``budget``.

    Attributes
    ----------
    rule : str
    epoch : int
        Of the rule set that was active then.
    start_ns, end_ns : int
        Around the change; a packet on its way then may be taken at a part of its points.
    mode_before, mode, sample_before, sample
        The same before and after where it is told only that the budget cannot be kept, or can again.
    why : str
    """

    rule: str
    epoch: int
    start_ns: int
    end_ns: int
    mode_before: str
    sample_before: float
    mode: str
    sample: float
    why: str

    @property
    def told(self) -> str:
        """The change in words."""
        return f"{Level(self.mode, self.sample)}: {self.why}"


@dataclass(frozen=True)
class _Measured:
    rule: str
    epoch: int
    amount: float
    over: bool


@dataclass
class _Kept:
    """A rule with a budget: as written, and what becomes of it."""

    rule: Rule
    controller: Controller


class Budgets:
    """Keeps the budgets of a tracer's rules; a context manager.

    Parameters
    ----------
    tracer : Tracer
    reactivate : callable
        Makes the rules active anew, as `effective` returns them; called when a mode changes.
    available : sequence of str
        Names of this host's points.
    """

    def __init__(self, tracer: Tracer, reactivate: Callable[[], object], available: Sequence[str]):
        self._tracer, self._reactivate, self._available = tracer, reactivate, available
        self._meter = Meter(tracer)
        self._kept: dict[str, _Kept] = {}
        self._measured: deque[_Measured] = deque(maxlen=_KEPT)
        self.changes: list[Change] = []
        self.error = ""
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="cmonlab-budget", daemon=True)
        self._thread.start()

    # ---- rules come and go --------------------------------------------------------

    def effective(self, rules: Sequence[Rule]) -> list[Rule]:
        """Return the rules as they are to be active now: those that fell back, in another mode."""
        return [self._lowered(rule) for rule in rules]

    def _lowered(self, rule: Rule) -> Rule:
        kept = self._kept.get(rule.name)
        same = kept is not None and kept.rule == rule
        return in_mode(rule, kept.controller.level.mode) if same else rule

    def follow(self, rules: Sequence[Rule]) -> None:
        """Keep the budgets of these rules, as they were written; they are active, as `effective` told."""
        before, now = self._kept, {}
        for rule in rules:
            if rule.budget is None:
                continue
            kept = before.get(rule.name)
            if kept is None or kept.rule != rule:
                kept, start_ns = _Kept(rule, Controller(rule.budget, rule.mode, rule.sample)), time.monotonic_ns()
                # It may be active already, where nothing but the budget has changed.
                self._tracer.active.set_sample(rule.name, threshold(kept.controller.level.sample))
                self._write(rule.name, None, kept.controller.level, _BEGIN, start_ns)
            now[rule.name] = kept
        self._kept = now  # all at once: the thread may be looking
        (self._wanted.set if now else self._wanted.clear)()

    # ---- the thread -----------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wanted.wait()
                if self._stopping.is_set():
                    return
                cost = self._meter.measure(self._stopping.wait)
                if cost is not None and not self._stopping.is_set():
                    self._decide(cost)
        except BaseException as error:  # told by status and session: budgets are not kept any more
            self.error = repr(error)
            _log.error("budgets are not kept any more: %s", error)

    def _decide(self, cost: Cost) -> None:
        kept = list(self._kept.values())
        for one in kept:
            control = one.controller
            total = cost.share if control.budget.unit == "share" else cost.packet_ns
            before, start_ns = control.level, time.monotonic_ns()
            predict = partial(self._predict, cost, one)
            why = control.decide(start_ns / 1e9, cost.hop_ns, total / cost.hop_ns, predict, 1 / len(kept))
            self._measured.append(
                _Measured(one.rule.name, self._tracer.active.epoch, total, total > control.budget.most)
            )
            if control.level != before:
                why += self._carry_out(one, before)
            if why:
                self._write(one.rule.name, before, control.level, why, start_ns)

    def _carry_out(self, one: _Kept, before: Level) -> str:
        """Make a new level that of the rule; return what is to be said where that cannot be."""
        level = one.controller.level
        if level.mode == before.mode:
            self._tracer.active.set_sample(one.rule.name, threshold(level.sample))
            return ""
        try:
            self._reactivate()
        except CmonlabError as error:  # the rules before are active still
            one.controller.level = before
            return f"; it cannot change to mode {level.mode}: {error.what}"
        return ""

    def _write(self, name: str, before: Level | None, level: Level, why: str, start_ns: int) -> None:
        was = before or level
        self.changes.append(
            Change(
                name,
                self._tracer.active.epoch,
                start_ns,
                time.monotonic_ns(),
                was.mode,
                was.sample,
                level.mode,
                level.sample,
                why,
            )
        )
        _log.log(
            logging.WARNING if before is not None and not level.above(before) else logging.INFO,
            "budget of rule %s: %s",
            name,
            self.changes[-1].told,
        )

    def _predict(self, cost: Cost, one: _Kept, level: Level) -> float:
        active = next((rule for rule in self._tracer.active.current if rule.plan.name == one.rule.name), None)
        if active is None:  # it has just ended
            return cost.hop_ns
        others = {name for rule in self._tracer.active.current if rule is not active for name in rule.plan.points}
        points = points_of(in_mode(one.rule, level.mode), self._available)
        return predicted_ns(cost, active.plan, active.slot, one.controller.level, level, points, others)

    # ---- what it says -----------------------------------------------------------------

    def told(self, first_epoch: int = 0, end_epoch: int = 1 << 62) -> dict[str, Any]:
        """Return what a manifest says of the epochs from `first_epoch` to before `end_epoch`.

        Of what was before, the last change of each rule: it was in force at the beginning.
        """
        names = {
            rule.plan.name
            for rule in self._tracer.active.history
            if rule.plan.budgeted and rule.first < end_epoch and (not rule.last or rule.last >= first_epoch)
        }
        changes = [change for change in self.changes if change.rule in names and change.epoch < end_epoch]
        before = {change.rule: change for change in changes if change.epoch < first_epoch}
        inside = [change for change in changes if change.epoch >= first_epoch]
        rows = [row for row in list(self._measured) if first_epoch <= row.epoch < end_epoch]
        return {
            "error": self.error,
            "changes": [asdict(change) for change in (*before.values(), *inside)],
            "kept": [_summary(name, [row for row in rows if row.rule == name]) for name in sorted(names)],
        }

    def of(self, name: str) -> dict[str, Any] | None:
        """Return how a rule fares that has a budget: its level, and the last measurement."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        last = next((row for row in reversed(list(self._measured)) if row.rule == name), None)
        control = kept.controller
        return {
            "max_overhead": kept.rule.max_overhead,
            "mode": control.level.mode,
            "sample": control.level.sample,
            "fits": control.fits,
            "overhead": control.budget.told(last.amount) if last else "",
        }

    def close(self) -> None:
        """Leave the rules as they are; may be called twice."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join()


def _summary(name: str, rows: Sequence[_Measured]) -> dict[str, Any]:
    amounts = [row.amount for row in rows]
    return {
        "rule": name,
        "measurements": len(rows),
        "over": sum(row.over for row in rows),
        "highest": max(amounts, default=None),
        "mean": sum(amounts) / len(amounts) if amounts else None,
    }


def in_mode(rule: Rule, mode: str) -> Rule:
    """Return a rule that tells less of the same packets; custom points stay behind with mode capture."""
    if mode == rule.mode:
        return rule
    default = _COUNTED if mode == "count" else ("default",)
    known = [word for given in rule.points if given in _KNOWN for word in (default if given == "default" else (given,))]
    return rule.model_copy(
        update={
            "mode": mode,
            "limit": None,
            "by": rule.by if mode == "aggregate" else None,
            "points": tuple(known) or default,
        }
    )


def predicted_ns(
    cost: Cost, plan: Plan, slot: int, now: Level, then: Level, points: Sequence[str], others: set[str]
) -> float:
    """Return what a hop of the present packets would cost if a rule took more or less of them.

    Parameters
    ----------
    cost : Cost
        As it was measured with the rule as it is.
    plan, slot
        The rule.
    now, then : Level
    points : sequence of str
        The rule's, then.
    others : set of str
        Points that other rules have.
    """
    light, before, after = COST_NS["count"], COST_NS[now.mode], COST_NS[then.mode]
    total, here = 0.0, 0.0
    for name, run_ns in cost.run_ns.items():
        if name not in plan.points:
            total += run_ns
            continue
        here += run_ns
        if name not in points and name not in others:
            continue
        model = COST_NS["unmatched"] * cost.unmatched.get(name, 0) + light * cost.light.get(name, 0)
        model += before * cost.taken.get(name, 0)
        rest = light + then.sample * (after - light) if name in points else COST_NS["unmatched"]
        added = cost.matched.get((slot, name), 0) * (rest - light - now.sample * (before - light))
        total += run_ns * max(0.0, 1 + added / model) if model else run_ns
    fresh = set(points) - cost.run_ns.keys()
    return (total + here / max(1, len(plan.points)) * len(fresh)) / cost.hops
