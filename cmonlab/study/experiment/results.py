"""The results of an experiment so far, read from its plan and its finished runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cmonlab.data.store.directory import MANIFEST
from cmonlab.errors import SessionError, UnknownName

from . import plan as plans
from .row import row

if TYPE_CHECKING:
    from cmonlab.session.session import Session

    from ..compare.comparison import Comparison

FAILED = ".failed.json"


class Results:
    """The finished runs of an experiment. Reading them needs neither Docker nor root.

    Parameters
    ----------
    path : Path
        Directory of the experiment.
    plan : mapping
        Content of its ``plan.json``.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]):
        self.path, self.plan = path, dict(plan)
        self._rows: dict[tuple[str, str | None], dict[str, Any]] = {}

    @staticmethod
    def open(path: str | Path) -> Results:
        """Open the directory of an experiment to read its results.

        Raises
        ------
        SessionError
            The directory holds no experiment.
        """
        return Results(Path(path), plans.read(Path(path)))

    def _done(self, entry: Mapping[str, Any]) -> bool:
        return (self.path / entry["run"] / MANIFEST).is_file()

    def _labels(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return self.plan["cells"][entry["cell"]]["labels"]

    def _title(self, entry: Mapping[str, Any]) -> str:
        varied = [name for name, values in self.plan["factors"].items() if len(values) > 1]
        labels = self._labels(entry)
        return ", ".join(str(labels[name]) for name in varied) or str(labels["workload"])

    def status(self) -> pd.DataFrame:
        """Return one row per run, in the planned order.

        Returns
        -------
        pandas.DataFrame
            ``run``, ``repetition``, one column per factor, ``state`` (done, failed, missing) and ``why`` (the error
            of a failed run).
        """
        rows = []
        for entry in self.plan["order"]:
            note = self.path / f"{entry['run']}{FAILED}"
            failed = {} if self._done(entry) or not note.is_file() else json.loads(note.read_text(encoding="utf-8"))
            state = "done" if self._done(entry) else "failed" if failed else "missing"
            why = " ".join(part for part in (failed.get("what"), failed.get("why")) if part)
            rows.append(
                {
                    "run": entry["run"],
                    "repetition": entry["repetition"],
                    **self._labels(entry),
                    "state": state,
                    "why": why,
                }
            )
        return pd.DataFrame(rows)

    def table(self, direction: str | None = None) -> pd.DataFrame:
        """Return one row per finished run: run, repetition, factors, then metrics.

        Parameters
        ----------
        direction : str, optional
            Direction of the packets, for instance ``"c1 → c0"``; by default all directions together (delays of all
            packets, the sum of throughputs).

        Returns
        -------
        DataFrame
            Metrics: started, seconds, complete_journeys, lost_events, trace_gap_ns, one_way_delay_p50_ns (and p90, p99,
            p999, mean), throughput_bps, loss, and the results of the workloads. A result that a workload does not
            have is NaN.

        Raises
        ------
        UnknownName
            A run has no packets in that direction.
        """
        rows = []
        for entry, path in self._finished({}):
            key = (entry["run"], direction)
            if key not in self._rows:
                self._rows[key] = row(_open(path), direction)
            rows.append(
                {"run": entry["run"], "repetition": entry["repetition"], **self._labels(entry), **self._rows[key]}
            )
        return pd.DataFrame(rows)

    def sessions(self, **where: Any) -> list[Session]:
        """Return the sessions of finished runs, in the planned order.

        Parameters
        ----------
        **where
            Factor → label of its value, or a list of labels.

        Returns
        -------
        list of Session

        Raises
        ------
        UnknownName
            There is no such factor, or the factor has no such value.
        """
        return [_open(path) for _, path in self._finished(where)]

    def _finished(self, where: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Path]]:
        wanted = {name: self._checked(name, value) for name, value in where.items()}
        for entry in self.plan["order"]:
            labels = self._labels(entry)
            if self._done(entry) and all(labels[name] in values for name, values in wanted.items()):
                yield entry, self.path / entry["run"]

    def _checked(self, name: str, value: Any) -> list[Any]:
        factors = self.plan["factors"]
        if name not in factors:
            raise UnknownName("factor", name, factors)
        values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for one in values:
            if one not in factors[name]:
                raise UnknownName(f"value of {name}", str(one), map(str, factors[name]))
        return values

    def compare(
        self, by: str, metric: str = "one_way_delay", where: Mapping[str, Any] | None = None, **options: Any
    ) -> Comparison:
        """Compare the values of one factor; each value is a side with all its repetitions.

        Parameters
        ----------
        by : str
            The factor whose values are compared.
        metric : str
            Metric of `cmonlab.compare`.
        where : mapping of str to value, optional
            Factor → label, for the other factors: every other factor that varies must be fixed to one value.
        **options
            ``direction``, ``quantiles``, ``segment`` and ``baseline`` of `cmonlab.compare`.

        Returns
        -------
        Comparison

        Raises
        ------
        UnknownName
            There is no such factor or value.
        SessionError
            Another factor varies, or a value has no finished run.
        """
        from ..compare.comparison import compare

        where = dict(where or {})
        self._checked(by, [])
        factors = self.plan["factors"]
        free = [name for name, values in factors.items() if name not in (by, *where) and len(values) > 1]
        if free:
            example = ", ".join(f"{name!r}: {factors[name][0]!r}" for name in free)
            raise SessionError(
                f"not only {by} varies, but also {', '.join(free)}",
                why="a difference could not be attributed to one of them",
                fix=f"fix it to one value: where={{{example}}}",
            )
        labels = self._checked(by, where.pop(by)) if by in where else factors[by]
        sides: dict[str, list[Path]] = {str(label): [] for label in labels}
        for entry, path in self._finished(where):
            if (label := str(self._labels(entry)[by])) in sides:
                sides[label].append(path)
        return compare(sides, metric, **options)

    def __repr__(self) -> str:
        states = self.status()["state"].value_counts()
        counts = ", ".join(f"{states[word]} {word}" for word in ("done", "failed", "missing") if word in states)
        varied = " × ".join(f"{len(values)} {name}" for name, values in self.plan["factors"].items())
        return f"<Experiment {self.path.name}: {varied} × {self.plan['repetitions']} repetitions; {counts}>"


def _open(path: Path) -> Session:
    from cmonlab.session.session import open

    return open(path)
