"""``cmonlab demo``: three workloads between two containers, and a report."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..kernel import preflight
from ..report import write_report
from ..summary import run_report
from ..topology.templates import template
from ..workload import WORKLOADS, workload
from . import console
from .run import check_replaceable, print_session, run_in

_TITLES = {"memcached": "memcached", "iperf-tcp": "iperf3, TCP", "iperf-udp": "iperf3, UDP"}


def run(out: Path, duration_s: float) -> None:
    """Record each workload below `out`, print its breakdown, and write ``report.html``.

    Sessions of an earlier demo are replaced.

    Raises
    ------
    CmonlabError
        Any of its kinds; containers and networks are removed.
    """
    preflight.require()
    for name in WORKLOADS:
        check_replaceable(out / name)
    sections = []
    with template("bridge", containers=2).deploy(notify=console.say) as lab:
        for name in WORKLOADS:
            shutil.rmtree(out / name, ignore_errors=True)
            with console.progress(name) as progress:
                session = run_in(lab, workload(name), None, duration_s, out / name, progress)
            print_session(session)
            if session.manifest["recording"]["ended"] == "interrupted":
                raise KeyboardInterrupt
            sections.append(run_report(session, _TITLES[name]))
    path = write_report(out / "report.html", sections, title="Where packets spend their time between two containers")
    console.out().print(f"report: {path}", markup=False)
