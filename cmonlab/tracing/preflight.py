"""Checks of what this host can trace, and what to do about each problem."""

from __future__ import annotations

import errno
import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cmonlab.errors import CmonlabError, NotTraceable
from cmonlab.points.catalogue import CATALOGUE
from cmonlab.points.probe import Probe

from .kernel import differences, programs
from .kernel.btf import vmlinux

_LOCKDOWN = Path("/sys/kernel/security/lockdown")


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes
    ----------
    name : str
        What was checked.
    ok : bool
        Whether there is no problem.
    required : bool
        Whether tracing needs it.
    what, why, fix : str
        What was found; for a problem also its cause and what to do.
    """

    name: str
    ok: bool
    required: bool
    what: str
    why: str = ""
    fix: str = ""


def attempt(name: str, check: Callable[[], str], required: bool = True) -> Check:
    """Run one check.

    Parameters
    ----------
    name : str
        Name of the check.
    check : callable
        Returns what was found, or raises a CmonlabError for a problem.
    required : bool
        Whether tracing needs it.

    Returns
    -------
    Check
    """
    try:
        return Check(name, True, required, check())
    except CmonlabError as error:
        return Check(name, False, required, error.what, error.why, error.fix)


def checks() -> list[Check]:
    """Check everything that tracing needs; programs are loaded last, if all else is there.

    Returns
    -------
    list of Check
        In the order of the checks.
    """
    steps = [
        ("root", _root),
        ("kernel", _kernel),
        ("BTF", _btf),
        ("bcc", _bcc),
        ("headers", _headers),
        ("libpcap", _libpcap),
    ]
    found = [attempt(name, check) for name, check in steps]
    if all(check.ok for check in found):
        found.append(attempt("points", _points))
        found.append(attempt("functions", _functions, required=False))
    found.append(attempt("clocksource", _clocksource, required=False))
    return found


def require() -> None:
    """Check everything that tracing needs, without loading programs.

    Raises
    ------
    NotTraceable
        The first problem.
    """
    for check in (_root, _kernel, _btf, _bcc, _headers, _libpcap):
        check()


def _root() -> str:
    if os.geteuid() != 0:
        raise NotTraceable(
            "loading eBPF programs needs root", why=f"you are user {os.geteuid()}", fix="run it again with sudo"
        )
    return "running as root"


def _kernel() -> str:
    release = platform.release()
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if platform.system() != "Linux" or numbers < differences.OLDEST:
        raise NotTraceable(
            f"{platform.system()} {release} cannot trace",
            why="the programs need what came with Linux {}.{}".format(*differences.OLDEST),
            fix="use a newer kernel; docs/kernels.md lists those that were tested",
        )
    if _LOCKDOWN.exists() and "[confidentiality]" in _LOCKDOWN.read_text():
        raise NotTraceable(
            f"Linux {release} does not allow its memory to be read",
            why="it is locked down for confidentiality, so eBPF programs may not read packets",
            fix="boot with lockdown=integrity, or without lockdown",
        )
    return f"Linux {release}"


def _btf() -> str:
    return f"type information {vmlinux().digest[:12]}…"


def _bcc() -> str:
    from .kernel.build import check_bcc

    return f"bcc {check_bcc()}"


def _headers() -> str:
    from .kernel.headers import system_headers

    return f"user-space headers in {system_headers()[0]}"


def _libpcap() -> str:
    from cmonlab.filters.pcapfilter import compile_expression

    compile_expression("tcp port 80")
    return "pcap expressions compile"


def _points() -> str:
    """Load and attach every point for a moment, which is the only proof that it works."""
    from .tracer import Tracer

    there = programs.available()
    with Tracer(ring_bytes=4096) as tracer:
        tracer.start([programs.trial(there, "ip proto 255")])
        tracer.stop()
    text = f"{len(there)} points attach"
    text += "".join(f"; {point.name} stands in for {point.instead_of}" for point in there if point.instead_of)
    lacking = ", ".join(
        f"{point.name} (came with Linux {point.since})" if point.since else point.name
        for point in programs.missing()
        if not point.is_function
    )
    return text + (f"; this kernel lacks {lacking}" if lacking else "")


def _functions() -> str:
    """Find which kernel functions are points here, and why the others are not."""
    functions = [point for point in CATALOGUE if point.is_function]
    why = {point: programs.why_missing(point) for point in functions}
    there = [point.name for point in functions if not why[point]]
    if not there:
        refused = programs.functions_traceable()
        locked = _locked_down() or os.strerror(errno.EPERM) in refused
        remedy = (
            "boot without lockdown" if locked else "use a kernel built with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"
        )
        raise NotTraceable(
            f"no kernel function is a point here: {', '.join(point.name for point in functions)}",
            why=refused + ("; a kernel that is locked down refuses it even to root" if locked else "") + _kprobes(),
            fix=f"no rule needs them; {remedy} to have them",
        )
    reasons: dict[str, list[str]] = {}
    for point in functions:
        reasons.setdefault(why[point], []).append(point.name)
    found = [f"{len(there)} of {len(functions)} kernel functions are points: {', '.join(there)}"]
    return "; ".join(found + [f"not {', '.join(names)}: {reason}" for reason, names in reasons.items() if reason])


def _locked_down() -> bool:
    return _LOCKDOWN.exists() and "[none]" not in _LOCKDOWN.read_text()


def _kprobes() -> str:
    """Return a remark if this host has kprobes, which could replace the functions but are not used."""
    there = not _locked_down() and Path("/sys/bus/event_source/devices/kprobe").exists()
    return "; kprobes are available, but are not used instead" if there else ""


def _clocksource() -> str:
    path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    name = path.read_text().strip() if path.exists() else "unknown"
    if name not in ("tsc", "kvm-clock", "arch_sys_counter"):
        raise NotTraceable(
            f"clocksource {name}",
            why="reading it is slow, so each event costs more",
            fix="boot with clocksource=tsc where the TSC is stable",
        )
    return f"clocksource {name}"


def check_probe(probe: Probe) -> None:
    """Compile a probe and load it without attaching it.

    Raises
    ------
    ProbeError
        The probe does not work on this kernel.
    NotTraceable
        This host cannot trace, so the probe cannot be checked.
    """
    from .tracer import Tracer

    with Tracer(probes=[probe], ring_bytes=4096) as tracer:
        tracer.active.try_load(programs.trial(tracer.probe_points))
