"""The notebooks of an artifact run again, and what they declare compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmonlab.errors import CmonlabError

from . import archive
from .difference import differences
from .frozen import thaw
from .report import AGREES, DIFFERS, FAILED, TOLD, Report
from .run import Run, run


@dataclass(frozen=True)
class Rerun:
    """How notebooks are run again.

    Attributes
    ----------
    live : bool
        Once more, so that they record anew.
    timeout_s : float
        For each cell.
    kept : Path
        Where executed notebooks and declared sessions go.
    """

    live: bool
    timeout_s: float
    kept: Path

    def run(
        self, report: Report, root: Path, notebooks: list[str], expected: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        """Run each notebook, and add to the report what it and its results are like.

        Parameters
        ----------
        report : Report
        root : Path
            The artifact's folder.
        notebooks : list of str
            Files of it.
        expected : mapping
            Result → table, and the notebook that declares it.
        say : callable
            Called with sentences on what is done.
        """
        for file in notebooks:
            name = file.removeprefix(f"{archive.PROJECT}/")
            say(f"notebook {name}")
            recorded = self._run(root / file, name, live=False)
            report.add("notebook", name, FAILED if recorded.failure else AGREES, recorded.failure)
            mine = {key: one["table"] for key, one in expected.items() if one["notebook"] == name}
            _compare(report, name, mine, recorded)
            if self.live:
                say(f"notebook {name}, recording anew")
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
        """Tell how what was recorded anew differs: sessions by statistics, other results by their numbers."""
        for name, content in recorded.results.items():
            title = f"{name} ({notebook})"
            if name not in again.results:
                report.add("live", title, TOLD, "not declared when recording anew")
                continue
            there, here = (self._sessions(notebook, live) / name for live in (False, True))
            if there.exists() and here.exists():
                report.add("live", title, TOLD, _compared(there, here))
                continue
            differ = differences(thaw(content), thaw(again.results[name]))
            report.add("live", title, TOLD, "other numbers" if differ else "the same numbers", differ)


def _compare(report: Report, notebook: str, expected: Mapping[str, Any], found: Run) -> None:
    for name, content in expected.items():
        title = f"{name} ({notebook})"
        if name not in found.results:
            report.add("result", title, FAILED, "not declared when run again")
            continue
        differ = differences(thaw(content), thaw(found.results[name]))
        report.add("result", title, DIFFERS if differ else AGREES, differences=differ)
    for name in found.results.keys() - expected.keys():
        report.add("result", f"{name} ({notebook})", TOLD, "declared now, not known when it was packed")


def _compared(there: Path, here: Path) -> str:
    """Return how two sessions differ, with intervals: a run elsewhere never has the same numbers."""
    from ..compare.comparison import compare

    try:
        return repr(compare({"packed": there, "here": here}))
    except CmonlabError as error:
        return f"cannot be compared: {error.what}"
