"""``cmonlab calibrate``: check cmonlab against reference values, on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import typer

from cmonlab.study.calibrate import page, suite
from cmonlab.study.calibrate.outcome import Calibration
from cmonlab.tracing import preflight

from . import console

_SHOWN = ["name", "truth", "measured", "error", "tolerance", "unit", "pass"]


def run(out: Path, only: Sequence[str], quick: bool, as_json: bool) -> bool:
    """Calibrate, write the result and print it.

    Parameters
    ----------
    out : Path
        Directory for the result and the report.
    only : sequence of str
        Names of groups of checks; empty: all groups.
    quick : bool
        Send fewer packets.
    as_json : bool
        Print the list of checks as JSON.

    Returns
    -------
    bool
        Whether all checks passed.

    Raises
    ------
    CmonlabError
        This host cannot trace, or something fails; everything that was created is removed.
    """
    suite.chosen(only)
    page.check_target(out)
    preflight.require()
    result = suite.calibrate(only, quick)
    page.write(out, result)
    if as_json:
        typer.echo(json.dumps(page.strict([check.describe() for check in result.checks]), ensure_ascii=False))
    else:
        _print(result)
    _conclude(result)
    console.say(f"written to {out}: {page.RESULT}, {page.REPORT}")
    return result.passed


def _print(result: Calibration) -> None:
    table = pd.DataFrame([check.describe() for check in result.checks], columns=["group", *_SHOWN])
    table["pass"] = table["pass"].map({True: "yes", False: "FAILED"})
    for group, rows in table.groupby("group", sort=False):
        console.show(rows[_SHOWN], str(group))
    if result.unavailable:
        console.show(pd.DataFrame([asdict(one) for one in result.unavailable]), "not available here")


def _conclude(result: Calibration) -> None:
    """Print on stderr what failed, and a summary."""
    for one in result.broken:
        console.complain(f"the group {one.group} ended with an error: {one.what}")
        if one.why:
            console.say(f"  why: {one.why}")
    for check in result.failed:
        console.complain(f"failed: {check.name}: error {check.error:,.6g} {check.unit}, tolerance {check.tolerance:g}")
    if not result.checks:
        console.complain("nothing was checked, so nothing has passed")
    summary = result.summary
    console.say(
        f"{summary['passed']} of {summary['checks']} checks passed, {summary['repeated_for_trace_gaps']} of them "
        f"in scenarios repeated because of trace gaps; {summary['unavailable']} scenarios are not available here, "
        f"{result.seconds:.0f} s"
    )
