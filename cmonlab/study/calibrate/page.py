"""Write a calibration: calibrate.json and report.html in one directory, atomically."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from cmonlab import plot
from cmonlab.data.store.directory import check_target as check_free
from cmonlab.errors import SessionError
from cmonlab.session.report.page import RunReport, write_report
from cmonlab.system.files import atomic_directory

from .outcome import Calibration

RESULT, REPORT = "calibrate.json", "report.html"
_KNOWN = (
    "A table below shows where each reference value comes from. A scenario is repeated only if it failed and its "
    "recording has trace gaps; the table of checks shows how often."
)


def check_target(path: Path) -> None:
    """Check that a calibration can be written to `path`; an older calibration may be there, and will be replaced.

    Raises
    ------
    SessionError
        Something else is there, or the path cannot be written.
    """
    if not (path / RESULT).is_file():
        check_free(path)


def write(path: Path, result: Calibration) -> None:
    """Write calibrate.json and report.html into a directory; an older calibration there is replaced.

    Parameters
    ----------
    path : Path
        The directory.
    result : Calibration
        What to write.

    Raises
    ------
    SessionError
        The directory could not be written; an older calibration is unchanged.
    """
    check_target(path)
    try:
        with atomic_directory(path, RESULT) as folder:
            text = json.dumps(strict(result.describe()), indent=1, ensure_ascii=False, allow_nan=False)
            (folder / RESULT).write_text(text + "\n", encoding="utf-8")
            write_report(folder / REPORT, [section(result)], title="Calibration: cmonlab against reference values")
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        fix = "free space there, or choose another directory"
        raise SessionError(f"the calibration cannot be written to {path}", why=why, fix=fix) from error


def strict(value: Any) -> Any:
    """Return JSON-compatible data with None for NaN and infinity, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: strict(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(one) for one in value]
    return None if isinstance(value, float) and value - value != 0 else value


def section(result: Calibration) -> RunReport:
    """Return the section of the HTML report: figures, and every check, failed ones first."""
    machine, kernel = result.host["machine"], result.host["kernel"]
    count = result.summary
    facts = [
        ("checks", f"{count['checks']}, {count['failed']} failed"),
        ("scenarios that are not available here", str(count["unavailable"])),
        ("checks of scenarios repeated because of trace gaps", str(count["repeated_for_trace_gaps"])),
        ("groups", ", ".join(result.groups)),
        ("took", f"{result.seconds:.0f} s{', quick form' if result.quick else ''}"),
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
        "Delays, measured over reference": plot.check_delays(table, caption=_KNOWN),
    }
    if not (table["group"] == "delay").any():
        del figures["Delays, measured over reference"]
    origins = table[["name", "note"]].drop_duplicates("note", ignore_index=True)
    tables = {"checks": table.drop(columns="note"), "where each reference value comes from": origins}
    if result.unavailable:
        tables["not available here"] = pd.DataFrame([asdict(one) for one in result.unavailable])
    return RunReport("calibration", facts, figures, tables, notes)
