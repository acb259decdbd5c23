"""Budgets of rules: how large a sample a rule may take so that tracing costs no more than its budget.

Calculation only: ``cmonlab/tracing/budgets.py`` gets the measurements and applies the decisions.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Cost in ns of one packet at one point, by mode. Medians of one machine (docs/performance.md); `make bench` measures
#: them. "unmatched" is the cost of a packet that no rule matches; the other values include it.
COST_NS = {"unmatched": 25, "capture": 120, "aggregate": 140, "count": 55}
#: Smallest sample of each mode; below it, the next mode gives more information. A rule with a budget starts with it.
LOWEST = {"capture": 0.01, "aggregate": 0.001, "count": 1.0}
_MODES = tuple(LOWEST)  # the most detailed one first

_TARGET = 0.7  # share of the budget that a new level should cost
_LIMIT = 0.85  # share of the budget above which the level falls
_MODE_TARGET = 0.6  # share of the budget that a more detailed mode may cost to return to it
_MAX_RISE, _MIN_RISE = 2.0, 1.25  # factors by which a sample grows in one step
_PEAK_S = 30.0  # time for which the heaviest load counts
_HOLD_S, _LONGEST_HOLD_S = 5.0, 60.0  # time after a fall in which the level does not rise
_SOON_S = 20.0  # a fall within this time after a rise doubles that time
_PATTERN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(%|ns)")


@dataclass(frozen=True)
class Budget:
    """Largest cost of the tracing programs.

    Attributes
    ----------
    most : float
        Share of the kernel's time (0 to 1), or ns per packet.
    unit : str
        ``"share"`` or ``"ns"``.
    """

    most: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget from text such as ``3%`` or ``800ns``.

        Raises
        ------
        ValueError
            The text is not a budget.
        """
        found = _PATTERN.fullmatch(text.strip())
        number = float(found[1]) if found else 0.0
        if not found or not 0 < number <= (100 if found[2] == "%" else 1e9):
            raise ValueError("must be a share of the kernel's time above 0% and at most 100%, or ns per packet")
        return cls(number / 100, "share") if found[2] == "%" else cls(number, "ns")

    def text(self, amount: float | None = None) -> str:
        """Return a cost in the budget's unit as text that `parse` reads; by default the budget itself."""
        scale, unit = (100, "%") if self.unit == "share" else (1, "ns")
        if amount is None:
            return f"{scale * self.most:.6f}".rstrip("0").rstrip(".") + unit
        return f"{scale * amount:.3g}{unit}" if scale * amount < 1000 else f"{scale * amount:.0f}{unit}"


@dataclass(frozen=True)
class Level:
    """Mode and sample of a rule.

    Attributes
    ----------
    mode : str
        ``"capture"``, ``"aggregate"`` or ``"count"``.
    sample : float
        Share of the packets, above 0 and at most 1.
    """

    mode: str
    sample: float

    def __str__(self) -> str:
        return f"{self.mode}, sampled {100 * self.sample:.3g}%" if self.sample < 1 else self.mode

    def above(self, other: Level) -> bool:
        """Return whether this level gives more information than the other."""
        return (-_MODES.index(self.mode), self.sample) > (-_MODES.index(other.mode), other.sample)


#: Returns the cost of a level (ns per hop of the present packets), estimated from the last measurement.
Predict = Callable[[Level], float]


class Controller:
    """Chooses the level of a rule after each measurement.

    Cost per hop and load are separate inputs: the heaviest load of the last half minute counts, so that the budget
    still holds if that load returns.

    Parameters
    ----------
    budget : Budget
        Budget of the rule.
    mode : str
        Mode of the rule, the most detailed one that may be chosen.
    sample : float
        Sample of the rule, the largest one that may be chosen.

    Attributes
    ----------
    level : Level
        Present level.
    fits : bool
        Whether the budget can be met.
    """

    def __init__(self, budget: Budget, mode: str, sample: float):
        self.budget = budget
        self._modes = _MODES[_MODES.index(mode) :]
        self._sample = sample
        self.level = self.lowest(mode)
        self.fits = True
        self._loads: deque[tuple[float, float]] = deque()
        self._hold_s, self._hold_until, self._rose_at = 0.0, 0.0, float("-inf")

    def lowest(self, mode: str) -> Level:
        """Return the lowest level of the rule in a mode."""
        return Level(mode, min(self._sample, LOWEST[mode]))

    def decide(self, now_s: float, cost_ns: float, load: float, predict: Predict, room: float = 1.0) -> str:
        """Process a measurement: set `level` and `fits`.

        Parameters
        ----------
        now_s : float
            Time of the measurement, seconds of a monotonic clock.
        cost_ns : float
            Average cost per hop.
        load : float
            Factor that turns `cost_ns` into the budget's unit; it grows with the number of packets.
        predict : callable
            Returns the cost of a level in ns per hop.
        room : float
            Share of the unused budget that this rule may take for a rise, 0 to 1; below 1 if several rules have a
            budget.

        Returns
        -------
        str
            Reason why `level` or `fits` has changed; empty if neither has.
        """
        self._loads.append((now_s, load))
        while self._loads[0][0] < now_s - _PEAK_S:
            self._loads.popleft()
        peak, most = max(load for _, load in self._loads), self.budget.most
        amount, before = cost_ns * peak, self.level
        at = self._modes.index(before.mode)
        if amount > _LIMIT * most:
            best = self._best(lambda level: predict(level) * peak, _TARGET * most, self._modes[at:])
            if before.above(best):
                self._fall(now_s, best)
        elif now_s >= self._hold_until:
            ceiling = amount + room * max(0.0, _TARGET * most - amount)
            modes = [mode for mode in self._modes[:at] if predict(self.lowest(mode)) * peak <= _MODE_TARGET * most]
            best = self._best(lambda level: predict(level) * peak, ceiling, [*modes, before.mode])
            if best.above(before):
                self._rise(now_s, best)
        return self._reason(before, cost_ns * load, amount)

    def _best(self, cost: Callable[[Level], float], most: float, modes: Sequence[str]) -> Level:
        """Return the highest level that costs at most `most`; the lowest one of the last mode if none does."""
        for mode in modes:
            low, high = self.lowest(mode), Level(mode, self._sample)
            low_cost, high_cost = cost(low), cost(high)
            if high_cost <= most:
                return high
            if low_cost <= most:  # the cost is linear in the sample
                share = (most - low_cost) / (high_cost - low_cost)
                return Level(mode, low.sample + share * (high.sample - low.sample))
        return self.lowest(modes[-1])

    def _fall(self, now_s: float, level: Level) -> None:
        self.level = level
        again = now_s - self._rose_at < _SOON_S and self._hold_s
        self._hold_s = min(2 * self._hold_s, _LONGEST_HOLD_S) if again else _HOLD_S
        self._hold_until = now_s + self._hold_s

    def _rise(self, now_s: float, best: Level) -> None:
        if best.mode != self.level.mode:
            self.level = self.lowest(best.mode)
        elif best.sample >= _MIN_RISE * self.level.sample or best.sample == self._sample:
            self.level = Level(best.mode, min(best.sample, _MAX_RISE * self.level.sample))
        else:
            return
        self._rose_at = now_s

    def _reason(self, before: Level, amount: float, at_peak: float) -> str:
        """Set `fits`, and return why it or the level has changed, given the present cost and that under peak load."""
        most = self.budget.most
        fitted, self.fits = self.fits, amount <= (most if self.fits else _TARGET * most) or self.level != before
        text = self.budget.text
        if self.level.above(before):
            return f"there is room: {text(amount)}"
        if self.level != before:
            peak = f", {text(at_peak)} under the load of a moment ago" if at_peak > 1.05 * amount else ""
            return f"{text(amount)}{peak}, of {text()}"
        if fitted and not self.fits:
            return f"does not fit: {text(amount)}, and the rule cannot take less"
        return "fits again" if self.fits and not fitted else ""
