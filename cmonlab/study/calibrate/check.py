"""A truth, what cmonlab reported of it, and whether that is close enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

#: How often a scenario is made again when it failed while tracepoints were silent.
ATTEMPTS = 4


@dataclass(frozen=True)
class Check:
    """One truth and what was measured of it.

    Attributes
    ----------
    group : str
        delay, loss, counts, throughput, rtt, sampling or overload.
    name : str
        The scenario and the quantity, for instance ``"delay: tbf at the bridge's port, p50"``.
    truth, measured : float
        In `unit`.
    unit : str
        Empty for a share.
    tolerance : float
        The greatest difference that passes, in `unit`; 0 is exact.
    note : str
        How the truth is known, and what a reader should know of this value.
    trace_gap_ns : int
        For how long tracepoints stayed silent in the recording it comes from.
    attempts : int
        How often the scenario was made; more than once only where tracepoints were silent.
    """

    group: str
    name: str
    truth: float
    measured: float
    unit: str
    tolerance: float
    note: str = ""
    trace_gap_ns: int = 0
    attempts: int = 1

    @property
    def error(self) -> float:
        """Measured less truth."""
        return self.measured - self.truth

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; what is no number never passes."""
        return abs(self.error) <= self.tolerance

    def describe(self) -> dict[str, Any]:
        """Return what calibrate.json holds of it."""
        return {
            "group": self.group,
            "name": self.name,
            "truth": self.truth,
            "measured": self.measured,
            "error": self.error,
            "unit": self.unit,
            "tolerance": self.tolerance,
            "pass": self.passed,
            "note": self.note,
            "trace_gap_ns": self.trace_gap_ns,
            "attempts": self.attempts,
        }


@dataclass(frozen=True)
class Unavailable:
    """A scenario that this host cannot make, which is told and neither passes nor fails.

    Attributes
    ----------
    group, name : str
        As of a check.
    why : str
        What is missing.
    """

    group: str
    name: str
    why: str


def repeat_over_trace_gaps(make: Callable[[], Iterable[Check]]) -> list[Check]:
    """Make a scenario, and again where it failed while tracepoints were silent (packets passed unseen).

    Parameters
    ----------
    make : callable
        Makes the scenario, records it and returns its checks.
    """
    for attempt in range(1, ATTEMPTS + 1):
        checks = [replace(check, attempts=attempt) for check in make()]
        if all(check.passed or not check.trace_gap_ns for check in checks):
            break
    return checks
