"""One check of a calibration: a reference value, the measured value, and the tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

#: How often a scenario is run at most; it is repeated only if it failed and its recording has trace gaps.
ATTEMPTS = 4


@dataclass(frozen=True)
class Check:
    """A reference value and the value that cmonlab measured.

    Attributes
    ----------
    group : str
        delay, loss, counts, throughput, rtt, sampling or overload.
    name : str
        The scenario and the quantity, for instance ``"delay: tbf at the bridge's port, p50"``.
    truth, measured : float
        The reference value and the measured one, in `unit`.
    unit : str
        Unit of the values, empty for shares.
    tolerance : float
        The largest difference that passes, in `unit`; 0: they must be equal.
    note : str
        Where the reference value comes from, and other remarks on it.
    trace_gap_ns : int
        Sum of the trace gaps in the recording.
    attempts : int
        How often the scenario was run; more than once only because of trace gaps.
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
        """The measured value minus the reference value."""
        return self.measured - self.truth

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; NaN never passes."""
        return abs(self.error) <= self.tolerance

    def describe(self) -> dict[str, Any]:
        """Return the check's entry in calibrate.json."""
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
    """A scenario that cannot be run on this host. It is reported, and neither passes nor fails.

    Attributes
    ----------
    group, name : str
        As in `Check`.
    why : str
        What is missing.
    """

    group: str
    name: str
    why: str


def repeat_over_trace_gaps(make: Callable[[], Iterable[Check]]) -> list[Check]:
    """Run a scenario; repeat it if a check failed whose recording has trace gaps, in which packets passed unseen.

    Parameters
    ----------
    make : callable
        Runs the scenario, records it and returns its checks.

    Returns
    -------
    list of Check
        The checks of the last attempt.
    """
    for attempt in range(1, ATTEMPTS + 1):
        checks = [replace(check, attempts=attempt) for check in make()]
        if all(check.passed or not check.trace_gap_ns for check in checks):
            break
    return checks
