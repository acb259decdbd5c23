"""``%%point``: a custom probe, written in a cell of a notebook.

::

    %load_ext cmonlab

    %%point cwnd at=tcp_probe socket=0 fields=snd_cwnd:u32 reads=tcp_sock.snd_cwnd
    struct tcp_sock *tp = (struct tcp_sock *)sk;
    out->snd_cwnd = READ(tp->snd_cwnd);

The cell makes a `cmonlab.Probe` of that name, for ``cm.record(..., probes=[cwnd])``.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, Protocol

from cmonlab.errors import NotTraceable, ProbeError
from cmonlab.points.probe import Probe

#: The code begins in the cell's second line; messages count lines from the first one.
_FIRST_LINE = 2
_USAGE = "%%point NAME at=TRACEPOINT|function=FUNCTION packet=N|socket=N [fields=NAME:TYPE,…] [reads=STRUCT.MEMBER,…]"
_WORDS = ("at", "function", "packet", "socket", "fields", "reads")


class Shell(Protocol):
    """What an IPython shell offers to extensions."""

    def push(self, variables: dict[str, Any]) -> None:
        """Set variables of the user's namespace."""

    def register_magic_function(
        self, func: Callable[[str, str], None], magic_kind: str = "line", magic_name: str | None = None
    ) -> None:
        """Add a magic.

        Parameters
        ----------
        func : callable
            Called with the rest of the line and the cell.
        magic_kind : {"line", "cell", "line_cell"}
            Where the magic stands.
        magic_name : str, optional
            Its name, by default the function's.
        """


def register(shell: Shell) -> None:
    """Add ``%%point`` to an IPython shell."""

    def point(line: str, cell: str) -> None:
        probe = probe_of(line, cell)
        verdict = _checked(probe)
        shell.push({probe.name: probe})
        print(f"{probe.name}: {verdict}")

    shell.register_magic_function(point, magic_kind="cell", magic_name="point")


def probe_of(line: str, cell: str) -> Probe:
    """Return the probe that a cell describes.

    Parameters
    ----------
    line : str
        The text after ``%%point``: name and options.
    cell : str
        The lines below it, in C.

    Raises
    ------
    ProbeError
        The line has an unknown option, or does not describe a probe.
    """
    try:
        name, *options = shlex.split(line)
    except ValueError as error:
        raise ProbeError("%%point needs a name", why=str(error), fix=_USAGE) from None
    given: dict[str, Any] = {}
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
        raise ProbeError(f"point {name!r}: {word}={text} is not the number of an argument", fix=_USAGE)
    return int(text)


def _field(name: str, text: str) -> tuple[str, str]:
    field, colon, kind = text.partition(":")
    if not colon:
        raise ProbeError(f"point {name!r}: field {text!r} has no type", fix=_USAGE)
    return field, kind


def _checked(probe: Probe) -> str:
    """Compile a probe and let the kernel verify it, if this host can trace; return the verdict."""
    from cmonlab.tracing import preflight

    try:
        preflight.require()
    except NotTraceable as error:
        return f"not checked, as this host cannot trace: {error.what}"

    preflight.check_probe(probe)
    return f"compiles, and the kernel accepts it; record it with probes=[{probe.name}]"
