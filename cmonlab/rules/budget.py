"""What a rule may cost, and how much of it is taken so that it costs no more.

Pure calculation: what is measured comes from ``kernel/meter.py``, what is decided is done
by ``cmonlab/tracing/budgets.py``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Nanoseconds that a packet costs at a point. Medians of one machine (docs/performance.md);
#: `make bench` measures them. "unmatched" is what every packet of the host pays, up to
#: where a rule is done with it; the modes include it.
COST_NS = {"unmatched": 25, "capture": 120, "aggregate": 140, "count": 55}
#: The smallest sample of each mode; below it the next mode tells more. A rule with a budget begins there.
LOWEST = {"capture": 0.01, "aggregate": 0.001, "count": 1.0}
_MODES = tuple(LOWEST)  # from the one that tells most

_AIM = 0.7  # of the budget: what a change leads to
_ALARM = 0.85  # of the budget: beyond it less is taken
_RISE = 2.0  # a sample grows at most by this at a time,
_WORTH = 1.25  # and at least by this
_MODE_AIM = 0.6  # of the budget: at most that much to return to a mode that tells more
_REMEMBER_S = 30.0  # how long the heaviest load counts
_HOLD_S, _LONGEST_HOLD_S = 5.0, 60.0  # after less was taken
_SOON_S = 20.0
_PATTERN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(%|ns)")


@dataclass(frozen=True)
class Budget:
    """The most that the programs may take.

    Attributes
    ----------
    most : float
        Share of the kernel's time (0 to 1), or nanoseconds a packet.
    unit : str
        ``"share"`` or ``"ns"``.
    """

    most: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Return the budget that a text such as ``3%`` or ``800ns`` stands for.

        Raises
        ------
        ValueError
            It stands for none.
        """
        found = _PATTERN.fullmatch(text.strip())
        number = float(found[1]) if found else 0.0
        if not found or not 0 < number <= (100 if found[2] == "%" else 1e9):
            raise ValueError("must be a share of the kernel's time above 0% and at most 100%, or nanoseconds a packet")
        return cls(number / 100, "share") if found[2] == "%" else cls(number, "ns")

    def told(self, amount: float | None = None) -> str:
        """Return an amount, by default the budget itself, as `parse` takes it."""
        scale, unit = (100, "%") if self.unit == "share" else (1, "ns")
        if amount is None:
            return f"{scale * self.most:.6f}".rstrip("0").rstrip(".") + unit
        return f"{scale * amount:.3g}{unit}" if scale * amount < 1000 else f"{scale * amount:.0f}{unit}"


@dataclass(frozen=True)
class Level:
    """How much a rule takes: its mode, and its share of the packets."""

    mode: str
    sample: float

    def __str__(self) -> str:
        return f"{self.mode}, sampled {100 * self.sample:.3g}%" if self.sample < 1 else self.mode

    def above(self, other: Level) -> bool:
        """Tell whether this tells more than the other."""
        return (-_MODES.index(self.mode), self.sample) > (-_MODES.index(other.mode), other.sample)


#: What a level would cost (ns a hop of the present packets), by what was measured just now.
Predict = Callable[[Level], float]


class Controller:
    """Decides how much of a rule is taken, from one measurement to the next.

    The cost of a hop and the load are looked at apart: a load that was heavy a moment ago
    counts for a while, so that its return passes no budget.

    Parameters
    ----------
    budget : Budget
    mode : str
        The rule's.
    sample : float
        The rule's, which is the most that is taken.
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
        """Return the least that the rule takes in a mode."""
        return Level(mode, min(self._sample, LOWEST[mode]))

    def decide(self, now_s: float, cost_ns: float, load: float, predict: Predict, room: float = 1.0) -> str:
        """Take in a measurement and set `level`.

        Parameters
        ----------
        now_s : float
        cost_ns : float
            What a hop cost, on average.
        load : float
            What `cost_ns` is to be multiplied by to be an amount of the budget.
        predict : callable
        room : float
            Share of what the budget leaves that this rule may rise into, where several have one.

        Returns
        -------
        str
            Why the level, or whether it fits, has changed; empty if neither has.
        """
        self._loads.append((now_s, load))
        while self._loads[0][0] < now_s - _REMEMBER_S:
            self._loads.popleft()
        peak, most = max(load for _, load in self._loads), self.budget.most
        amount, known = cost_ns * peak, self.level
        here = self._modes.index(known.mode)
        if amount > _ALARM * most:
            best = self._best(lambda level: predict(level) * peak, _AIM * most, self._modes[here:])
            if known.above(best):
                self._fell(now_s, best)
        elif now_s >= self._hold_until:
            ceiling = amount + room * max(0.0, _AIM * most - amount)
            modes = [mode for mode in self._modes[:here] if predict(self.lowest(mode)) * peak <= _MODE_AIM * most]
            best = self._best(lambda level: predict(level) * peak, ceiling, [*modes, known.mode])
            if best.above(known):
                self._rise(now_s, best)
        return self._why(known, cost_ns * load, amount)

    def _best(self, cost: Callable[[Level], float], most: float, modes: Sequence[str]) -> Level:
        """Return the level that tells most of those that fit, the last one where none does."""
        for mode in modes:
            low, high = self.lowest(mode), Level(mode, self._sample)
            least, all_of_it = cost(low), cost(high)
            if all_of_it <= most:
                return high
            if least <= most:  # costs grow with the sample in a straight line
                return Level(mode, low.sample + (most - least) / (all_of_it - least) * (high.sample - low.sample))
        return self.lowest(modes[-1])

    def _fell(self, now_s: float, to: Level) -> None:
        self.level = to
        again = now_s - self._rose_at < _SOON_S and self._hold_s
        self._hold_s = min(2 * self._hold_s, _LONGEST_HOLD_S) if again else _HOLD_S
        self._hold_until = now_s + self._hold_s

    def _rise(self, now_s: float, best: Level) -> None:
        if best.mode != self.level.mode:
            self.level = self.lowest(best.mode)
        elif best.sample >= _WORTH * self.level.sample or best.sample == self._sample:
            self.level = Level(best.mode, min(best.sample, _RISE * self.level.sample))
        else:
            return
        self._rose_at = now_s

    def _why(self, before: Level, amount: float, expected: float) -> str:
        most = self.budget.most
        fitted, self.fits = self.fits, amount <= (most if self.fits else _AIM * most) or self.level != before
        told = self.budget.told
        if self.level.above(before):
            return f"there is room: {told(amount)}"
        if self.level != before:
            heavier = f", {told(expected)} under the load of a moment ago" if expected > 1.05 * amount else ""
            return f"{told(amount)}{heavier}, of {told()}"
        if fitted and not self.fits:
            return f"does not fit: {told(amount)}, and the rule cannot take less"
        return "fits again" if self.fits and not fitted else ""
