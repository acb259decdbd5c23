"""calibrate.json and report.html: one directory, whole or not there."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from cmonlab import plot
from cmonlab.data.store import directory as store
from cmonlab.errors import SessionError
from cmonlab.session.report.page import RunReport, write_report
from cmonlab.system.files import atomic_directory

from .outcome import Calibration

RESULT, REPORT = "calibrate.json", "report.html"
_KNOWN = (
    "How each truth is known stands in a table of its own below. A scenario is made again only where it failed while "
    "tracepoints were silent; the table of checks tells how often."
)


def check_target(path: Path) -> None:
    """Check that a calibration can be written to `path`, in place of an older one if there is one.

    Raises
    ------
    SessionError
        Something else is there, or it cannot be written.
    """
    if not (path / RESULT).is_file():
        store.check_target(path)


def write(path: Path, result: Calibration) -> None:
    """Write calibrate.json and report.html into a directory; an older calibration there is replaced.

    Raises
    ------
    SessionError
        It could not be written; an older one is still there.
    """
    check_target(path)
    try:
        with atomic_directory(path, RESULT) as folder:
            text = json.dumps(strict(result.describe()), indent=1, ensure_ascii=False, allow_nan=False)
            (folder / RESULT).write_text(text + "\n", encoding="utf-8")
            write_report(folder / REPORT, [section(result)], title="Calibration: cmonlab against known truths")
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        fix = "free space there, or choose another directory"
        raise SessionError(f"the calibration cannot be written to {path}", why=why, fix=fix) from error


def strict(value):
    """Return data with null for what is no finite number: JSON has no word for it."""
    if isinstance(value, dict):
        return {name: strict(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(one) for one in value]
    return None if isinstance(value, float) and value - value != 0 else value


def section(result: Calibration) -> RunReport:
    """Return the report's section: every check, failed ones first, and the figures."""
    machine, kernel = result.host["machine"], result.host["kernel"]
    count = result.summary
    facts = [
        ("checks", f"{count['checks']}, {count['failed']} failed"),
        ("scenarios that cannot be made here", str(count["unavailable"])),
        ("checks of scenarios made again, as tracepoints were silent", str(count["repeated_for_blind_intervals"])),
        ("groups", ", ".join(result.groups)),
        ("took", f"{result.seconds:.0f} s{', the quick form' if result.quick else ''}"),
        ("kernel", f"{kernel['kernel']} ({machine['clocksource']})"),
        ("machine", f"{machine['cpu'] or machine['machine']}, {machine['cpus']} CPUs"),
        ("cmonlab", str(result.host["versions"]["cmonlab"])),
        ("made at", result.host["created"]),
    ]
    notes = [f"The group {one.group} ended with an error: {one.what}. {one.why}" for one in result.broken]
    notes += [f"FAILED: {check.name}" for check in result.failed]
    notes += [] if result.passed else ["This calibration did not pass."]
    table = result.table()
    figures = {
        "Error of every check": plot.check_errors(table, caption=_KNOWN),
        "Delays, reported over true": plot.check_delays(table, caption=_KNOWN),
    }
    if not (table["group"] == "delay").any():
        del figures["Delays, reported over true"]
    told = table[["name", "note"]].drop_duplicates("note", ignore_index=True)
    tables = {"checks": table.drop(columns="note"), "how each truth is known": told}
    if result.unavailable:
        tables["cannot be made here"] = pd.DataFrame([asdict(one) for one in result.unavailable])
    return RunReport("calibration", facts, figures, tables, notes)
