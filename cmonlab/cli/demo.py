"""``cmonlab demo``: three workloads between two containers, and a report."""

from __future__ import annotations

import os
from pathlib import Path

from cmonlab.errors import SessionError
from cmonlab.lab.topology.templates.registry import template
from cmonlab.lab.workload import workload
from cmonlab.progress import shown
from cmonlab.recording.record import check_duration
from cmonlab.session.report.page import write_report
from cmonlab.session.report.sections import run_report
from cmonlab.tracing import preflight

from . import console
from .record import check_replaceable, print_session, run_in

_TITLES = {"memcached": "memcached", "iperf-tcp": "iperf3, TCP", "iperf-udp": "iperf3, UDP"}


def run(out: Path, duration_s: float) -> None:
    """Record each workload, print its breakdown, and write ``report.html``.

    Parameters
    ----------
    out : Path
        Directory for the sessions and the report; sessions of an earlier demo are replaced.
    duration_s : float
        How long each workload runs, s.

    Raises
    ------
    CmonlabError
        This host cannot trace, or something fails; containers and networks are removed.
    """
    check_duration(duration_s)
    if os.path.exists(out) and not out.is_dir():
        raise SessionError(f"{out} is not a directory", fix="choose another --out")
    for name in _TITLES:
        check_replaceable(out / name)
    preflight.require()
    sections = []
    with template("bridge", containers=2).deploy(notify=console.say) as lab:
        for name in _TITLES:
            with shown(title=name) as progress:
                session = run_in(lab, workload(name), None, duration_s, out / name, progress, replace=True)
            print_session(session)
            if session.manifest["recording"]["ended"] == "interrupted":
                raise KeyboardInterrupt
            sections.append(run_report(session, _TITLES[name]))
    path = write_report(out / "report.html", sections, title="Where packets spend their time between two containers")
    console.out().print(f"report: {path}", markup=False, soft_wrap=True)
