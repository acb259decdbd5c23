"""Control of active rules with a budget: their cost is measured, their level changed, and every change stored."""

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
from cmonlab.rules import Rule, points_of, threshold
from cmonlab.rules.budget import Controller, Level

from .cost import Cost, Meter
from .prediction import in_mode, predicted_ns
from .tracer import Tracer

_log = logging.getLogger(__name__)

_MOST_MEASURED = 7200  # measurements that are stored, the latest ones: an hour for one rule
_BEGIN = "rules with a budget start with the lowest sample"


@dataclass(frozen=True)
class Change:
    """One change of a rule's level; a row of the table ``budget``.

    Attributes
    ----------
    rule : str
        Name of the rule.
    epoch : int
        Epoch of the rule set that was active then.
    start_ns, end_ns : int
        CLOCK_MONOTONIC before and after the change. Packets in flight between them may be taken at some points only.
    mode_before, sample_before : str, float
        Level before the change.
    mode, sample : str, float
        Level after it. It is the same as before if the row only says that the budget cannot be kept, or can be again.
    why : str
        The reason.
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
    def text(self) -> str:
        """The new level and the reason, in words."""
        return f"{Level(self.mode, self.sample)}: {self.why}"


@dataclass(frozen=True)
class _Measured:
    rule: str
    epoch: int
    amount: float
    over: bool


@dataclass
class _Controlled:
    """A rule with a budget, as the user wrote it, and its controller."""

    rule: Rule
    controller: Controller


class Budgets:
    """Controls the rules with budgets of a tracer, in a thread of its own.

    Parameters
    ----------
    tracer : Tracer
        The tracer.
    reactivate : callable
        Called when the mode of a rule changes; makes the rules active again, as `effective` returns them.
    available : sequence of str
        Names of this host's points.

    Attributes
    ----------
    changes : list of Change
        All changes so far.
    error : str
        Why budgets are no longer controlled, empty if they are.
    """

    def __init__(self, tracer: Tracer, reactivate: Callable[[], object], available: Sequence[str]):
        self._tracer, self._reactivate, self._available = tracer, reactivate, available
        self._meter = Meter(tracer)
        self._controlled: dict[str, _Controlled] = {}
        self._measured: deque[_Measured] = deque(maxlen=_MOST_MEASURED)
        self.changes: list[Change] = []
        self.error = ""
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="cmonlab-budget", daemon=True)
        self._thread.start()

    # ---- rules start and end --------------------------------------------------------

    def effective(self, rules: Sequence[Rule]) -> list[Rule]:
        """Return the rules as they should be active now: rules that have fallen back are in another mode."""
        return [self._lowered(rule) for rule in rules]

    def _lowered(self, rule: Rule) -> Rule:
        one = self._controlled.get(rule.name)
        return in_mode(rule, one.controller.level.mode) if one is not None and one.rule == rule else rule

    def follow(self, rules: Sequence[Rule]) -> None:
        """Set the rules to control, as the user wrote them; they must be active as `effective` returns them."""
        before, now = self._controlled, {}
        for rule in rules:
            if rule.budget is None:
                continue
            one = before.get(rule.name)
            if one is None or one.rule != rule:
                one, start_ns = _Controlled(rule, Controller(rule.budget, rule.mode, rule.sample)), time.monotonic_ns()
                # If only the budget has changed, the rule is active already with another sample.
                self._tracer.active.set_sample(rule.name, threshold(one.controller.level.sample))
                self._write(rule.name, None, one.controller.level, _BEGIN, start_ns)
            now[rule.name] = one
        self._controlled = now  # replaced as a whole: the thread may be reading it
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
        except BaseException as error:  # status and manifest report it
            self.error = repr(error)
            _log.error("budgets are no longer controlled: %s", error)

    def _decide(self, cost: Cost) -> None:
        controlled = list(self._controlled.values())
        for one in controlled:
            control = one.controller
            total = cost.share if control.budget.unit == "share" else cost.packet_ns
            before, start_ns = control.level, time.monotonic_ns()
            predict = partial(self._predict, cost, one)
            why = control.decide(start_ns / 1e9, cost.hop_ns, total / cost.hop_ns, predict, 1 / len(controlled))
            self._measured.append(
                _Measured(one.rule.name, self._tracer.active.epoch, total, total > control.budget.most)
            )
            if control.level != before:
                why += self._carry_out(one, before)
            if why:
                self._write(one.rule.name, before, control.level, why, start_ns)

    def _carry_out(self, one: _Controlled, before: Level) -> str:
        """Change a rule to its controller's new level; return what to add to the reason if that fails."""
        level = one.controller.level
        if level.mode == before.mode:
            self._tracer.active.set_sample(one.rule.name, threshold(level.sample))
            return ""
        try:
            self._reactivate()
        except CmonlabError as error:  # the rules stay as they were
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
            self.changes[-1].text,
        )

    def _predict(self, cost: Cost, one: _Controlled, level: Level) -> float:
        active = next((rule for rule in self._tracer.active.current if rule.plan.name == one.rule.name), None)
        if active is None:  # it has just ended
            return cost.hop_ns
        others = {name for rule in self._tracer.active.current if rule is not active for name in rule.plan.points}
        points = points_of(in_mode(one.rule, level.mode), self._available)
        return predicted_ns(cost, active.plan, active.slot, one.controller.level, level, points, others)

    # ---- status ------------------------------------------------------------------------

    def summary(self, first_epoch: int = 0, end_epoch: int = 1 << 62) -> dict[str, Any]:
        """Return the entry ``budget`` of a manifest.

        Parameters
        ----------
        first_epoch, end_epoch : int
            Epochs from `first_epoch` to before `end_epoch` are included.

        Returns
        -------
        dict
            ``error``: as the attribute; ``changes``: those of these epochs, and for each rule the last change before,
            which was in force at the beginning; ``kept``: per rule, the number of measurements, how many were over the
            budget, and the highest and mean amount (a share, or ns per packet).
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
        """Return the status of a rule's budget, None if the rule has none.

        Returns
        -------
        dict or None
            ``max_overhead``: the budget; ``mode`` and ``sample``: the current level; ``fits``: whether the budget can
            be kept; ``overhead``: the last measurement as text, empty before the first one.
        """
        one = self._controlled.get(name)
        if one is None:
            return None
        last = next((row for row in reversed(list(self._measured)) if row.rule == name), None)
        control = one.controller
        return {
            "max_overhead": one.rule.max_overhead,
            "mode": control.level.mode,
            "sample": control.level.sample,
            "fits": control.fits,
            "overhead": control.budget.text(last.amount) if last else "",
        }

    def close(self) -> None:
        """Stop controlling; the rules stay as they are. Idempotent."""
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
