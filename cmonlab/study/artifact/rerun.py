"""Run the notebooks of an artifact again, and compare the results they declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmonlab.errors import CmonlabError

from . import archive
from .difference import differences
from .frozen import thaw
from .report import AGREES, DIFFERS, FAILED, NOTED, Report
from .run import Run, run


@dataclass(frozen=True)
class Rerun:
    """How notebooks are run again.

    Attributes
    ----------
    live : bool
        Run them a second time in live mode, in which they record new sessions.
    timeout_s : float
        Time limit for each cell, in seconds.
    kept : Path
        Directory for executed notebooks and declared sessions.
    """

    live: bool
    timeout_s: float
    kept: Path

    def run(
        self, report: Report, root: Path, notebooks: list[str], expected: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        """Run each notebook, compare its results, and add the findings to the report.

        Parameters
        ----------
        report : Report
            Receives the findings.
        root : Path
            The artifact's folder.
        notebooks : list of str
            Names of the notebooks, relative to `root`.
        expected : mapping
            Result → ``table`` and ``notebook``, the notebook that declares it.
        say : callable
            Called with a sentence (str) for each step.
        """
        for file in notebooks:
            name = file.removeprefix(f"{archive.PROJECT}/")
            say(f"notebook {name}")
            recorded = self._run(root / file, name, live=False)
            report.add("notebook", name, FAILED if recorded.failure else AGREES, recorded.failure)
            mine = {key: one["table"] for key, one in expected.items() if one["notebook"] == name}
            _compare(report, name, mine, recorded)
            if self.live:
                say(f"notebook {name}, live")
                again = self._run(root / file, name, live=True)
                if again.failure:
                    report.add("live", name, FAILED, again.failure)
                self._compare_live(report, name, recorded, again)

    def _sessions(self, name: str, live: bool) -> Path:
        return self.kept / ("live" if live else "recorded") / Path(name).with_suffix("")

    def _run(self, notebook: Path, name: str, *, live: bool) -> Run:
        where = self._sessions(name, live)
        return run(notebook, where, live=live, timeout_s=self.timeout_s, keep=where.with_suffix(".ipynb"))

    def _compare_live(self, report: Report, notebook: str, recorded: Run, again: Run) -> None:
        """Report how the live run differs: sessions by statistics, other results by their numbers."""
        for name, content in recorded.results.items():
            title = f"{name} ({notebook})"
            if name not in again.results:
                report.add("live", title, NOTED, "not declared in the live run")
                continue
            there, here = (self._sessions(notebook, live) / name for live in (False, True))
            if there.exists() and here.exists():
                report.add("live", title, NOTED, _compared(there, here))
                continue
            differ = differences(thaw(content), thaw(again.results[name]))
            report.add("live", title, NOTED, "other numbers" if differ else "the same numbers", differ)


def _compare(report: Report, notebook: str, expected: Mapping[str, Any], found: Run) -> None:
    for name, content in expected.items():
        title = f"{name} ({notebook})"
        if name not in found.results:
            report.add("result", title, FAILED, "not declared when run again")
            continue
        differ = differences(thaw(content), thaw(found.results[name]))
        report.add("result", title, DIFFERS if differ else AGREES, differences=differ)
    for name in found.results.keys() - expected.keys():
        report.add("result", f"{name} ({notebook})", NOTED, "declared now, but not when it was packed")


def _compared(there: Path, here: Path) -> str:
    """Return how two sessions differ, with intervals: two recordings never have the same numbers."""
    from ..compare.comparison import compare

    try:
        return repr(compare({"packed": there, "here": here}))
    except CmonlabError as error:
        return f"cannot be compared: {error.what}"
