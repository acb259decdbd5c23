"""Run all groups of the calibration, one after the other, on one testbed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from cmonlab.errors import CmonlabError, UnknownName
from cmonlab.progress import Progress, Report, shown
from cmonlab.recording import provenance
from cmonlab.system.host import now

from ..testbed.testbed import Testbed, testbed
from .check import Unavailable
from .outcome import Broken, Calibration

#: The groups in the order in which they run; each is a module of this folder with a function ``run(bed, quick)``.
GROUPS = {
    "delay": "a known delay at a known place: error in that segment, and leakage into other segments",
    "loss": "a known number of packets dropped at a known place: place, reason and count",
    "counts": "n packets in, n journeys out, and no journey that mixes two packets",
    "rates": "throughput and round trip times, compared with iperf3, sockperf and the kernel's counters",
    "sampling": "confidence intervals of a sample contain the true value as often as stated",
    "overload": "a stopped reader: every lost event is counted, and none is reported as packet loss",
}


def calibrate(only: Sequence[str] = (), quick: bool = False, progress: Progress = None) -> Calibration:
    """Run scenarios with reference values, and compare them with what cmonlab reports.

    Parameters
    ----------
    only : sequence of str
        Names of groups, see `GROUPS`; by default all.
    quick : bool
        Fewer packets and rounds in each scenario.
    progress : callable or False, optional
        Called with a phrase and a fraction from 0 to 1; False: quiet; by default a bar on a
        terminal and in a notebook.

    Returns
    -------
    Calibration
        If a group ends with an error, this is recorded in it, and the others still run.

    Raises
    ------
    UnknownName
        There is no such group.
    NotTraceable
        The testbed cannot be created on this machine.
    """
    groups = chosen(only)
    result, began = Calibration(describe_host(), groups, quick), time.monotonic()
    with shown(progress, "calibrate") as say, testbed() as bed:
        for number, group in enumerate(groups):
            _run(bed, group, result, partial(_tell, say, number / len(groups)))
    result.seconds = time.monotonic() - began
    return result


def _tell(say: Report, done: float, phrase: str) -> None:
    say(phrase, done)


def chosen(only: Sequence[str]) -> list[str]:
    """Return the groups to run, in order.

    Raises
    ------
    UnknownName
        There is no such group.
    """
    for name in only:
        if name not in GROUPS:
            raise UnknownName("group of calibration", name, GROUPS)
    return [name for name in GROUPS if not only or name in only]


def _run(bed: Testbed, group: str, result: Calibration, say: Callable[[str], None]) -> None:
    """Add what a group finds to the result; an error ends the group, not the calibration."""
    say(group)
    try:
        for found in import_module(f".groups.{group}", __package__).run(bed, result.quick):
            if isinstance(found, Unavailable):
                result.unavailable.append(found)
                say(f"{group}: {found.name} is not available here")
            else:
                result.checks += found
                say(f"{group}: {found[-1].name}" if found else group)
    except CmonlabError as error:
        result.broken.append(Broken(group, error.what, error.why))
    except Exception as error:
        result.broken.append(Broken(group, f"{type(error).__name__}: {error}", _place(error)))


def _place(error: Exception) -> str:
    """Return where an unexpected error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"raised in {trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}"


def describe_host() -> dict[str, Any]:
    """Return time, machine, kernel and software versions, for calibrate.json."""
    from cmonlab.tracing.kernel.build import check_bcc

    origin = provenance.of_host()
    host = origin["host"]
    kernel = {name: host.pop(name) for name in ("kernel", "kernel_build", "btf_sha256")}
    versions = {"python": host.pop("python"), **host.pop("python_packages"), "bcc": check_bcc(), "abi": origin["abi"]}
    versions["cmonlab_git"] = host.pop("git_revision")
    return {
        "created": now(),
        "machine": host,
        "kernel": kernel,
        "versions": versions,
        "missing_points": origin["missing"],
    }
