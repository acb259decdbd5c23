"""What this host can trace, and what to do where it cannot."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CmonlabError, NotTraceable

#: Rules with ports read the stack at a variable offset (kernel 01f810ace9ed), ports are remembered with an atomic or
#: (5ca419f2864a), and the ledger counts skipped runs (9ed9e9ba2337): all of them came with 5.12.
_OLDEST = (5, 12)
_LOCKDOWN = Path("/sys/kernel/security/lockdown")


@dataclass(frozen=True)
class Check:
    """One thing that a host needs or offers.

    Attributes
    ----------
    name : str
        What was looked at.
    ok : bool
        Whether it is there.
    required : bool
        Whether tracing needs it.
    what, why, fix : str
        What was found; for a problem its cause and what to do.
    """

    name: str
    ok: bool
    required: bool
    what: str
    why: str = ""
    fix: str = ""


def attempt(name: str, look: Callable[[], str], required: bool = True) -> Check:
    """Run one look; a CmonlabError is a problem, what it returns is what was found."""
    try:
        return Check(name, True, required, look())
    except CmonlabError as error:
        return Check(name, False, required, error.what, error.why, error.fix)


def checks() -> list[Check]:
    """Look at everything the kernel side needs, the cheap looks first; load the programs last.

    Returns
    -------
    list of Check
        Problems of what is required come with a fix; the rest says what is not offered.
    """
    looks = [
        ("root", _root),
        ("kernel", _kernel),
        ("BTF", _btf),
        ("bcc", _bcc),
        ("headers", _headers),
        ("libpcap", _libpcap),
    ]
    found = [attempt(name, look) for name, look in looks]
    if all(check.ok for check in found):
        found.append(attempt("points", _points))
    found.append(attempt("clocksource", _clocksource, required=False))
    found.append(attempt("kprobes", _kprobes, required=False))
    return found


def require() -> None:
    """Raise the first problem that keeps this host from tracing; loads nothing.

    Raises
    ------
    NotTraceable
        With its fix.
    """
    for look in (_root, _kernel, _btf, _bcc, _headers, _libpcap):
        look()


def _root() -> str:
    if os.geteuid() != 0:
        raise NotTraceable(
            "loading eBPF programs needs root", why=f"you are user {os.geteuid()}", fix="run it again with sudo"
        )
    return "running as root"


def _kernel() -> str:
    release = platform.release()
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if platform.system() != "Linux" or numbers < _OLDEST:
        raise NotTraceable(
            f"{platform.system()} {release} cannot trace",
            why="the programs need what came with Linux 5.12",
            fix="use a newer kernel; docs/kernels.md lists those that were tried",
        )
    if _LOCKDOWN.exists() and "[confidentiality]" in _LOCKDOWN.read_text():
        raise NotTraceable(
            f"Linux {release} lets nobody read its memory",
            why="it is locked down for confidentiality, so eBPF programs may not look at packets",
            fix="boot with lockdown=integrity, or without lockdown",
        )
    return f"Linux {release}"


def _btf() -> str:
    from .btf import vmlinux

    return f"type information {vmlinux().digest[:12]}…"


def _bcc() -> str:
    from .loader import bcc

    return f"bcc {getattr(bcc(), '__version__', '')}".strip()


def _headers() -> str:
    from .headers import system_headers

    return f"user-space headers in {system_headers()[0]}"


def _libpcap() -> str:
    from .pcapfilter import compile_expression

    compile_expression("tcp port 80")
    return "pcap expressions compile"


def _points() -> str:
    """Load and attach every point for an instant: the only proof that it works."""
    from .tracer import Tracer, available, missing

    there = available()
    with Tracer("ip proto 255", [point.name for point in there], ring_bytes=4096) as tracer:
        tracer.start()
        tracer.stop()
    told = f"{len(there)} points attach"
    told += "".join(f"; {point.name} stands in for {point.instead_of}" for point in there if point.instead_of)
    lacking = ", ".join(
        f"{point.name} (came with Linux {point.since})" if point.since else point.name for point in missing()
    )
    return told + (f"; this kernel lacks {lacking}" if lacking else "")


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


def _kprobes() -> str:
    if _LOCKDOWN.exists() and "[none]" not in _LOCKDOWN.read_text():
        raise NotTraceable(
            "kprobes and fentry are not offered",
            why="the kernel is locked down",
            fix="no point needs them; boot without lockdown to use them",
        )
    if (
        not Path("/sys/kernel/tracing/kprobe_events").exists()
        and not Path("/sys/bus/event_source/devices/kprobe").exists()
    ):
        raise NotTraceable("kprobes are not offered", why="the kernel has no kprobe events", fix="no point needs them")
    return "kprobes are offered"
