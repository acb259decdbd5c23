"""The outcome of a calibration, as data and as tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from cmonlab.schema import columns

from .check import Check, Unavailable


@dataclass(frozen=True)
class Broken:
    """A group that ended with an error: it failed, even if its checks passed.

    Attributes
    ----------
    group : str
        Name of the group.
    what, why : str
        As in a `CmonlabError`; for another error, its type and text.
    """

    group: str
    what: str
    why: str


@dataclass
class Calibration:
    """One run of the calibration.

    Attributes
    ----------
    host : dict
        Machine, kernel, versions and time, from `cmonlab.recording.provenance`.
    groups : list of str
        The groups that ran, in order.
    quick : bool
        Whether the short form was run.
    seconds : float
        Duration of the calibration.
    checks : list of Check
        The checks of all groups.
    unavailable : list of Unavailable
        Scenarios that cannot be run on this host.
    broken : list of Broken
        Groups that ended with an error.
    """

    host: dict[str, Any]
    groups: list[str]
    quick: bool
    seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)
    unavailable: list[Unavailable] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    @property
    def failed(self) -> list[Check]:
        """The checks whose error is above the tolerance."""
        return [check for check in self.checks if not check.passed]

    @property
    def passed(self) -> bool:
        """Whether all groups ended normally, every check passed, and there is at least one check."""
        return bool(self.checks) and not self.failed and not self.broken

    @property
    def summary(self) -> dict[str, Any]:
        """Counts of checks by result, as in calibrate.json."""
        failed = len(self.failed)
        return {
            "pass": self.passed,
            "checks": len(self.checks),
            "passed": len(self.checks) - failed,
            "failed": failed,
            "unavailable": len(self.unavailable),
            "broken_groups": len(self.broken),
            "repeated_for_trace_gaps": sum(check.attempts > 1 for check in self.checks),
        }

    def describe(self) -> dict[str, Any]:
        """Return the content of calibrate.json."""
        return {
            **self.host,
            "quick": self.quick,
            "seconds": self.seconds,
            "groups": self.groups,
            "summary": self.summary,
            "checks": [check.describe() for check in self.checks],
            "unavailable": [asdict(one) for one in self.unavailable],
            "broken": [asdict(one) for one in self.broken],
        }

    def table(self) -> pd.DataFrame:
        """Return one row per check, failed ones first; columns of ``schema.describe("checks")``."""
        rows = sorted((check.describe() for check in self.checks), key=lambda row: row["pass"])
        return pd.DataFrame(rows, columns=columns("checks")).astype({"pass": bool})
