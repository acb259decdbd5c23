"""A session: the recording of one run, with its tables, figures and exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cmonlab.data.store.directory import load
from cmonlab.data.store.directory import save as save_session
from cmonlab.data.tables.tables import Tables

if TYPE_CHECKING:
    from .figures import Figures

__all__ = ["Session", "open"]


def open(path: str | Path) -> Session:
    """Open a saved session; needs no root, no Docker and no bcc.

    Parameters
    ----------
    path : str or Path
        Directory that `Session.save` or ``cmonlab record`` wrote.

    Returns
    -------
    Session

    Raises
    ------
    SessionError
        The directory holds no session or a damaged one.
    """
    return Session(*load(Path(path)))


class Session(Tables):
    """One run's events and manifest; `open` reads a saved one, `cmonlab.record` makes a new one.

    Parameters
    ----------
    columns : mapping of str to numpy.ndarray
        The stored columns of the events, in order of time: arrays of one length, shape (events,).
    manifest : mapping
        Provenance, names and the ledger, as in ``manifest.json``.
    cells : mapping of str to numpy.ndarray, optional
        What aggregate rules counted: the columns of ``cmonlab.data.store.cells``.
    probe_values : mapping of str to numpy.ndarray, optional
        What custom probes recorded: the columns of ``cmonlab.data.store.probe_values``.
    """

    @property
    def plot(self) -> Figures:
        """Figures of this session's tables: ``session.plot.breakdown()`` and so on."""
        from .figures import Figures

        return Figures(self)

    def save(self, path: str | Path) -> Path:
        """Write the session to a new directory, atomically.

        Parameters
        ----------
        path : str or Path
            The directory; it must not exist yet, or be empty.

        Returns
        -------
        Path
            The directory.

        Raises
        ------
        SessionError
            The directory exists or cannot be written. The session stays usable.
        """
        save_session(Path(path), self.columns, self.manifest, self._cells, self._probe_values)
        return Path(path)

    def export(
        self,
        path: str | Path,
        *,
        table: str | None = None,
        journeys: int | list[int] | None = None,
        packets: str | None = None,
    ) -> Path:
        """Write the session, or one of its tables, in a format of other programs.

        Parameters
        ----------
        path : str or Path
            A new file. Its suffix names the format: ``.pcapng``, ``.perfetto-trace``, ``.csv``, ``.arrow`` or ``.tex``.
        table : str, optional
            The table to write, for the last three formats; ``"breakdown"`` by default.
        journeys : int or list of int, optional
            The journeys to write, for the first two formats: how many, or their numbers; see `cmonlab.export.export`.
        packets : {"journeys", "hops"}, optional
            What a packet of a pcapng file stands for; a journey by default.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        UnknownName
            There is no format with this suffix, or no such table or journey.
        ExportError
            The file exists or cannot be written, or the session has no journey.
        """
        from .export import export

        return export(self, path, table=table, journeys=journeys, packets=packets)
