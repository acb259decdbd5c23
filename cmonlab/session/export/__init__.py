"""A session in the formats of other programs.

Packets and journeys can be written as pcapng (for Wireshark, tshark, scapy) and as Perfetto traces, tables as CSV,
Arrow and LaTeX. `export` chooses the format by the file's suffix; each format also has a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmonlab.errors import ExportError, UnknownName

from .latex import latex
from .pcapng import pcapng
from .perfetto import perfetto
from .tables import arrow, csv, tex

if TYPE_CHECKING:
    from cmonlab.data.tables.tables import Tables

__all__ = ["FORMATS", "arrow", "csv", "export", "latex", "pcapng", "perfetto", "tex"]

#: Suffix → (function that writes the format, names of its options).
FORMATS: dict[str, tuple[Callable[..., Path], tuple[str, ...]]] = {
    ".pcapng": (pcapng, ("journeys", "packets")),
    ".perfetto-trace": (perfetto, ("journeys",)),
    ".csv": (csv, ("table",)),
    ".arrow": (arrow, ("table",)),
    ".tex": (tex, ("table",)),
}


def export(
    session: Tables,
    path: str | Path,
    *,
    table: str | None = None,
    journeys: int | Sequence[int] | None = None,
    packets: str | None = None,
) -> Path:
    """Write a session, or one of its tables, in the format that the file's suffix names.

    Parameters
    ----------
    session : Tables
        For instance a `Session`.
    path : str or Path
        A new file: ``.pcapng``, ``.perfetto-trace``, ``.csv``, ``.arrow`` or ``.tex``.
    table : str, optional
        The table to write, for the last three formats; ``"breakdown"`` by default.
    journeys : int or sequence of int, optional
        The journeys to write, for the first two formats. A number: so many, half of them the slowest, the others
        spread evenly over the rest. A sequence: the numbers of the journeys. By default all in a pcapng file, 2,000 in
        a Perfetto trace.
    packets : {"journeys", "hops"}, optional
        What a packet of a pcapng file stands for; a journey by default.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UnknownName
        There is no such format, table or journey.
    ExportError
        The file exists or cannot be written, the session has no journey, or the format has no such option.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise UnknownName("suffix of an export", path.suffix or path.name, FORMATS)
    write, allowed = FORMATS[path.suffix]
    options = {"table": table, "journeys": journeys, "packets": packets}
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in allowed:
            others = ", ".join(suffix for suffix, (_, names) in FORMATS.items() if name in names)
            raise ExportError(
                f"a {path.suffix} file takes no choice of {name}", fix=f"leave it out, or write one of {others}"
            )
    return write(session, path, **given)
