"""Experiments: runs over a grid of parameters, in random order, resumable after a crash."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cmonlab.errors import CmonlabError, UnknownName, WorkloadError
from cmonlab.progress import Progress, Report, part, shown
from cmonlab.recording.overhead import check_rounds
from cmonlab.system.files import write_text
from cmonlab.system.host import now
from cmonlab.system.signals import defer_signals

from . import plan as plans
from .results import FAILED, Results

if TYPE_CHECKING:
    from .grid import Cell

DEPLOY = ("run", "topology")


class Experiment(Results):
    """Runs of every combination of a grid, repeated.

    Parameters
    ----------
    path : str or Path
        Directory of the experiment: ``plan.json``, and one session directory per run.
    grid : mapping of str to values
        Factor → its values: one, a list, or a mapping of labels to values. Factors: ``workload`` (names or
        objects), ``template`` (names or topologies; ``bridge`` by default), ``rule`` (pcap expressions, files,
        rules, or in a mapping lists of rules; by default the workload's own traffic), ``duration_s``, ``points``, and
        parameters of the templates and workloads, for instance ``containers``.
    repetitions : int
        How often each combination is run, at least 1.
    duration_s : float
        How long the workload runs in each run, in seconds.
    warm_up_s : float
        How long the workload runs before, unrecorded, in seconds; 0 for no warm-up.
    deploy : {"run", "topology"}
        ``"run"``: create new containers for each run, which takes some seconds; the repetitions then contain the
        variation between deployments. ``"topology"``: keep the containers of a topology until `run` ends.
    overhead : bool or int
        As in `cmonlab.record`: measure tracing overhead before each run.
    seed : int
        Seed of the random order of the runs.

    Raises
    ------
    CmonlabError
        A combination is not possible; all are checked before any is run.

    Examples
    --------
    >>> grid = {"template": ["bridge"], "workload": ["memcached", "sockperf-tcp"]}
    >>> experiment = cm.Experiment("runs/modes", grid, repetitions=5)
    >>> experiment.run()
    >>> experiment.compare(by="workload")
    """

    def __init__(
        self,
        path: str | Path,
        grid: Mapping[str, Any],
        repetitions: int = 5,
        *,
        duration_s: float = 10.0,
        warm_up_s: float = 1.0,
        deploy: str = "run",
        overhead: bool | int = False,
        seed: int = 0,
    ):
        from .grid import cells_of, factors_of

        if deploy not in DEPLOY:
            raise UnknownName("way to deploy", deploy, DEPLOY)
        if repetitions < 1 or warm_up_s < 0:
            raise WorkloadError(
                f"{repetitions} repetitions after a warm-up of {warm_up_s} s cannot be run",
                fix="give repetitions=1 or more, and warm_up_s=0 or more",
            )
        if overhead:
            check_rounds(2 if overhead is True else overhead)
        factors = factors_of(grid)
        self._cells: list[Cell] = cells_of(factors, duration_s)
        plan = {
            "format": plans.FORMAT,
            "factors": {name: list(values) for name, values in factors.items()},
            "repetitions": repetitions,
            "warm_up_s": warm_up_s,
            "deploy": deploy,
            "overhead": overhead,
            "seed": seed,
            "cells": [cell.describe() for cell in self._cells],
            "order": plans.ordered(len(self._cells), repetitions, seed),
        }
        super().__init__(Path(path), plan)

    def run(self, progress: Progress = None) -> pd.DataFrame:
        """Make the missing and the failed runs.

        Parameters
        ----------
        progress : callable or False, optional
            Called with a phrase and a fraction from 0 to 1; False: quiet; by default a bar on a
            terminal and in a notebook.

        Returns
        -------
        DataFrame
            As `status`. If runs failed, a warning names them.

        Raises
        ------
        SessionError
            The directory holds another plan.
        NotTraceable
            This host cannot trace.
        KeyboardInterrupt
            After Ctrl-C. What the unfinished run made is removed; the next call of `run` makes that run again.
        """
        from cmonlab.lab.docker.engine import docker_engine
        from cmonlab.tracing import preflight

        preflight.require()
        plans.write_or_check(self.path, self.plan)
        missing = [entry for entry in self.plan["order"] if not self._done(entry)]
        failed = []
        with shown(progress, self.path.name) as say, ExitStack() as labs:
            kept: dict[str, Any] = {}
            if missing:  # if we start a Docker engine, all runs share it
                labs.enter_context(docker_engine(lambda text: say(text, 0.0)))
            for number, entry in enumerate(missing):
                title = f"run {number + 1} of {len(missing)}, {self._title(entry)}"
                say_part = part(say, number / len(missing), (number + 1) / len(missing), title)
                try:
                    self._run(entry, say_part, kept, labs)
                except CmonlabError as error:
                    self._fail(entry, error)
                    failed.append(f"{entry['run']} ({self._title(entry)}): {error.what}")
        if failed:
            warnings.warn(f"{len(failed)} runs failed: {'; '.join(failed)}. run() tries them again.", stacklevel=2)
        return self.status()

    def _run(self, entry: Mapping[str, Any], say: Report, kept: dict[str, Any], labs: ExitStack) -> None:
        """Make one run and save its session."""
        from cmonlab.recording.record import record

        cell = self._cells[entry["cell"]]
        with ExitStack() as stack:
            lab = self._lab(cell, say, kept, labs if self.plan["deploy"] == "topology" else stack)
            if self.plan["warm_up_s"]:
                say("warming up", 0.0)
                cell.workload.prepare(lab)
                cell.workload.run(lab, self.plan["warm_up_s"])
            with defer_signals():
                session = record(
                    lab,
                    cell.workload,
                    list(cell.rules),
                    duration_s=cell.duration_s,
                    overhead=self.plan["overhead"],
                    progress=say,
                )
                if session.manifest["recording"]["ended"] == "interrupted":
                    raise KeyboardInterrupt
                session.manifest["experiment"] = {**entry, "factors": cell.labels}
                session.save(self.path / entry["run"])
                (self.path / f"{entry['run']}{FAILED}").unlink(missing_ok=True)

    def _lab(self, cell: Cell, say: Report, kept: dict[str, Any], stack: ExitStack) -> Any:
        key = json.dumps(cell.topology.describe(), sort_keys=True)
        if key not in kept or self.plan["deploy"] == "run":
            kept[key] = stack.enter_context(cell.topology.deploy(notify=lambda text: say(text, 0.0)))
        return kept[key]

    def _fail(self, entry: Mapping[str, Any], error: CmonlabError) -> None:
        failure = {"when": now(), "what": error.what, "why": error.why}
        write_text(self.path / f"{entry['run']}{FAILED}", json.dumps(failure, ensure_ascii=False))
