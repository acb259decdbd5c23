"""``cmonlab artifact``: pack a project into one archive that anyone can check and run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import console

if TYPE_CHECKING:
    from cmonlab.study.artifact.report import Report

app = typer.Typer(no_args_is_help=True, help="Pack a project so that others can check it and run it again.")
Archive = Annotated[Path, typer.Argument(help="An archive that `cmonlab artifact pack` wrote.")]
Live = Annotated[bool, typer.Option("--live", help="Also record again, and report the differences.")]
Timeout = Annotated[float, typer.Option(help="Seconds that a cell may take.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def pack(
    directory: Annotated[Path, typer.Argument(help="Folder with sessions, notebooks and data.")],
    out: Annotated[Path | None, typer.Option(help="New file, .tar.gz; by default next to the folder.")] = None,
) -> None:
    """Pack a folder, with its results and the versions that produced them."""
    from cmonlab.study.artifact import pack

    typer.echo(pack(directory, out, notify=console.say))


@app.command()
def check(
    archive: Archive,
    notebooks: Annotated[
        bool, typer.Option(" /--no-notebooks", help="Do not execute anything from the archive.", show_default=False)
    ] = True,
    live: Live = False,
    timeout: Timeout = 1800.0,
    as_json: Json = False,
) -> None:
    """Report which results of an artifact agree here, and by how much others differ.

    This runs the notebooks of the artifact: check only archives that you trust, or give --no-notebooks. The exit code
    is 1 when something differs.
    """
    from cmonlab.study.artifact import check

    _conclude(check(archive, notebooks=notebooks, live=live, timeout_s=timeout, notify=console.say), as_json)


@app.command()
def reproduce(
    archive: Archive,
    out: Annotated[Path | None, typer.Option(help="New folder; by default here, with the artifact's name.")] = None,
    live: Live = False,
    timeout: Timeout = 1800.0,
    as_json: Json = False,
) -> None:
    """Unpack an artifact, run its notebooks, compare, and keep the results."""
    from cmonlab.study.artifact import reproduce

    _conclude(reproduce(archive, out, live=live, timeout_s=timeout, notify=console.say), as_json)


def _conclude(report: Report, as_json: bool) -> None:
    typer.echo(report.to_json() if as_json else report.text())
    if not report.ok:
        raise typer.Exit(1)
