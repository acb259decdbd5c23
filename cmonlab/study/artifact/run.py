"""Run a notebook in a kernel of this Python."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from cmonlab.errors import ArtifactError

from .results import RUN, stored

if TYPE_CHECKING:
    from nbclient import NotebookClient

#: Environment variable: 1 asks a notebook to record new sessions, if it can.
LIVE = "CMONLAB_LIVE"
_STARTUP_S = 300  # long enough for a loaded machine


@dataclass(frozen=True)
class Run:
    """A notebook that was run.

    Attributes
    ----------
    results : dict of str to dict
        Declared results by name.
    failure : str
        Why it ended early; empty if it did not.
    """

    results: dict[str, dict[str, Any]]
    failure: str = ""


def run(notebook: Path, sessions: Path, *, live: bool, timeout_s: float, keep: Path | None = None) -> Run:
    """Run a notebook in its folder.

    Parameters
    ----------
    notebook : Path
        The notebook file; it is not changed.
    sessions : Path
        Directory where the notebook saves the sessions that it declares.
    live : bool
        Ask the notebook to record new sessions.
    timeout_s : float
        Time limit for each cell, in seconds.
    keep : Path, optional
        File to write the executed notebook to, with its outputs.

    Returns
    -------
    Run

    Raises
    ------
    ArtifactError
        Jupyter is not installed, or the file is not a notebook.
    """
    try:
        import nbformat
        from jupyter_client.kernelspec import NoSuchKernel
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    except ImportError as error:
        fix = "pip install 'cmonlab[notebook]', or check with --no-notebooks"
        raise ArtifactError("notebooks cannot be run here", why=str(error), fix=fix) from error
    try:
        content = nbformat.read(notebook, as_version=4)
    except Exception as error:  # nbformat has no common base class of its errors
        raise ArtifactError(
            f"{notebook.name} is not a notebook", why=str(error), fix="pack the artifact again"
        ) from error
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    sessions.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(
        content,
        timeout=timeout_s,
        resources={"metadata": {"path": str(notebook.parent)}},
        startup_timeout=_STARTUP_S,
        extra_arguments=["--IPKernelApp.log_level=50"],  # hides its warning about TCP, which is on loopback
    )
    failure = ""
    try:
        _execute(client, os.environ | {RUN: str(sessions.resolve()), LIVE: "1" if live else "0"})
    except NoSuchKernel as error:
        fix = "pip install ipykernel, or check with --no-notebooks"
        raise ArtifactError(f"{notebook.name} cannot be run here", why=str(error), fix=fix) from error
    except CellExecutionError as error:
        failure = f"{error.ename}: {error.evalue}"
    except CellTimeoutError:
        failure = f"a cell took longer than {timeout_s:g} s"
    except (DeadKernelError, RuntimeError) as error:
        failure = f"its kernel died, or did not start: {error}"
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(content, keep)
    return Run(stored(content), failure)


def _execute(client: NotebookClient, environment: Mapping[str, str]) -> None:
    """Run a notebook in a thread: in the main thread nbclient mistakes Ctrl-C for the death of the kernel."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None] | None]] = []
    begun = Event()

    async def executed() -> None:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        begun.set()
        await client.async_execute(env=environment)

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(asyncio.run, executed())
        try:
            done.result()
        except KeyboardInterrupt:
            begun.wait()
            loop, task = running[0]
            if task is not None:
                loop.call_soon_threadsafe(task.cancel)  # the kernel is shut down before the thread ends
            raise
