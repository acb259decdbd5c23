"""The outcome of a part of the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from cmonlab.data.analysis.stats import summarise

from .targets import Target, judge


@dataclass(frozen=True)
class Sample:
    """The measurements of one variant, one per round.

    Attributes
    ----------
    part : str
        The part of the benchmarks.
    measure : str
        What was measured; samples of one part, measure and unit can be compared.
    case : str
        The variant.
    unit : str
        Empty for ratios.
    values : list of float
        One value per round.
    at : float, optional
        Position of the variant on the x-axis, for measurements over a scale.
    """

    part: str
    measure: str
    case: str
    unit: str
    values: list[float]
    at: float | None = None

    def described(self) -> dict:
        """Return the sample and its summary as plain values."""
        return asdict(self) | {"summary": asdict(summarise(self.values))}


@dataclass
class Outcome:
    """Raw samples, targets, and notes for the reader."""

    samples: list[Sample] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, part: str, measure: str, case: str, unit: str, values: Sequence[float], at: float | None = None
    ) -> None:
        """Add a sample; a sample without values is ignored."""
        if values:
            self.samples.append(Sample(part, measure, case, unit, [float(value) for value in values], at))

    def judge(self, key: str, values: Sequence[float], case: str = "", unit: str = "") -> None:
        """Judge a goal; see `targets.judge`."""
        self.targets.append(judge(key, values, case, unit))

    def merge(self, other: Outcome) -> None:
        """Add the findings of another part."""
        self.samples += other.samples
        self.targets += other.targets
        self.notes += other.notes
