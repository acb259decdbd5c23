"""``%%point``: a point of one's own, written in a cell of a notebook.

::

    %load_ext cmonlab

    %%point cwnd at=tcp_probe socket=0 fields=snd_cwnd:u32 reads=tcp_sock.snd_cwnd
    struct tcp_sock *tp = (struct tcp_sock *)sk;
    out->snd_cwnd = READ(tp->snd_cwnd);

The cell makes a `cmonlab.Probe` of that name, for ``cm.record(..., probes=[cwnd])``.
"""

from __future__ import annotations

import shlex

from cmonlab.errors import NotTraceable, ProbeError
from cmonlab.points.probe import Probe

#: The code begins in the cell's second line, and messages name that one.
_FIRST_LINE = 2
_USAGE = "%%point NAME at=TRACEPOINT|function=FUNCTION packet=N|socket=N [fields=NAME:TYPE,…] [reads=STRUCT.MEMBER,…]"
_WORDS = ("at", "function", "packet", "socket", "fields", "reads")


def register(shell) -> None:
    """Make ``%%point`` known to an IPython shell."""

    def point(line: str, cell: str) -> None:
        made = probe_of(line, cell)
        told = _checked(made)
        shell.push({made.name: made})
        print(f"{made.name}: {told}")

    shell.register_magic_function(point, magic_kind="cell", magic_name="point")


def probe_of(line: str, cell: str) -> Probe:
    """Return the probe that a cell describes.

    Parameters
    ----------
    line : str
        What stands behind ``%%point``.
    cell : str
        The lines below it.

    Raises
    ------
    ProbeError
        The line is not as it should be, or it describes no probe.
    """
    try:
        name, *options = shlex.split(line)
    except ValueError as error:
        raise ProbeError("%%point needs a name", why=str(error), fix=_USAGE) from None
    given: dict = {}
    for option in options:
        word, equals, value = option.partition("=")
        if not equals or word not in _WORDS or word in given:
            raise ProbeError(f"point {name!r}: {option!r} is not understood", fix=_USAGE)
        given[word] = value
    for word in ("packet", "socket"):
        if word in given:
            given[word] = _number(name, word, given[word])
    if "fields" in given:
        given["fields"] = dict(_field(name, text) for text in given["fields"].split(","))
    if "reads" in given:
        given["reads"] = given["reads"].split(",")
    return Probe(name, **given, body=cell, first_line=_FIRST_LINE)


def _number(name: str, word: str, text: str) -> int:
    if not text.isdecimal():
        raise ProbeError(f"point {name!r}: {word}={text} is no argument's number", fix=_USAGE)
    return int(text)


def _field(name: str, text: str) -> tuple[str, str]:
    field, colon, kind = text.partition(":")
    if not colon:
        raise ProbeError(f"point {name!r}: field {text!r} has no type", fix=_USAGE)
    return field, kind


def _checked(probe: Probe) -> str:
    """Compile a probe and show it to the kernel, where this host can; return what came of it."""
    from cmonlab.tracing import preflight

    try:
        preflight.require()
    except NotTraceable as error:
        return f"not checked, as this host cannot trace: {error.what}"

    preflight.check_probe(probe)
    return f"compiles, and the kernel takes it; record it with probes=[{probe.name}]"
