"""A session: one run's recording, with every table and figure that follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cmonlab.data.store import directory as store
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

    Raises
    ------
    SessionError
        The directory holds no session or a damaged one.
    """
    return Session(*store.load(Path(path)))


class Session(Tables):
    """One run's events and manifest.

    Parameters
    ----------
    columns : mapping of str to numpy.ndarray
        The stored columns of the events, in order of time.
    manifest : mapping
        Provenance, names and the ledger, as in ``manifest.json``.
    cells : mapping of str to numpy.ndarray, optional
        What aggregate rules counted: the columns of ``cmonlab.data.store.cells``.
    notes : mapping of str to numpy.ndarray, optional
        What custom points took down: the columns of ``cmonlab.data.store.probe_values``.
    """

    @property
    def plot(self) -> Figures:
        """Figures of this session's tables: ``session.plot.breakdown()`` and so on."""
        from .figures import Figures

        return Figures(self)

    def save(self, path: str | Path) -> Path:
        """Write the session to a new directory, whole or not at all.

        Raises
        ------
        SessionError
            The directory is taken or cannot be written. The session stays usable.
        """
        store.save(Path(path), self.columns, self.manifest, self._cells, self._notes)
        return Path(path)

    def export(
        self,
        path: str | Path,
        *,
        table: str | None = None,
        journeys: int | list[int] | None = None,
        packets: str | None = None,
    ) -> Path:
        """Write the session, or a table of it, for other programs; see `cmonlab.export.export`.

        Raises
        ------
        UnknownName
            There is no format of this suffix, no such table or journey.
        ExportError
            The file exists or cannot be written, or the session has no journey.
        """
        from .export import export

        return export(self, path, table=table, journeys=journeys, packets=packets)
