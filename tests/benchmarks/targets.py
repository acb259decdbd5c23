"""Goals, and whether what was measured meets them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from cmonlab.analysis.stats import summarise

MEETS = {"at least": operator.ge, "at most": operator.le}


@dataclass(frozen=True)
class Target:
    """A goal and what was measured.

    Attributes
    ----------
    name : str
    sense : {"at least", "at most"}
    goal : float
    value : float
        Median over the rounds.
    spread : (float, float)
        Quartiles over the rounds.
    interval : (float, float)
        95% interval of the median.
    rounds : int
    met : bool
        Whether the median meets the goal.
    sure : bool
        Whether the whole interval lies on the same side of the goal as the median.
    """

    name: str
    sense: str
    goal: float
    value: float
    spread: tuple[float, float]
    interval: tuple[float, float]
    rounds: int
    met: bool
    sure: bool


def judge(name: str, sense: str, goal: float, samples: Sequence[float]) -> Target:
    """Compare the median of `samples` with a goal.

    Raises
    ------
    ValueError
        No samples, or `sense` is neither ``at least`` nor ``at most``.
    """
    if sense not in MEETS:
        raise ValueError(f"sense {sense!r} is none of {', '.join(MEETS)}")
    meets, found = MEETS[sense], summarise(samples)
    met = bool(meets(found.median, goal))
    sure = all(bool(meets(end, goal)) == met for end in found.interval)
    return Target(name, sense, goal, found.median, found.quartiles, found.interval, found.n, met, sure)


@dataclass
class Outcome:
    """What a benchmark found: raw samples by name, targets, and notes for the reader."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def merge(self, other: Outcome) -> None:
        """Take over another benchmark's findings."""
        self.samples |= other.samples
        self.targets += other.targets
        self.notes += other.notes

    def results(self) -> dict[str, dict]:
        """Return each name's summary as plain values."""
        return {name: asdict(summarise(values)) for name, values in self.samples.items()}
