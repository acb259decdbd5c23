"""A running trace that becomes a session when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from cmonlab.data.store import cells
from cmonlab.data.store import directory as store
from cmonlab.data.store import probe_values as extras
from cmonlab.errors import NotTraceable
from cmonlab.session.session import Session

from . import provenance

if TYPE_CHECKING:
    from cmonlab.points.probe import Probe
    from cmonlab.rules import Rule


_QUIET_S, _QUIET_DEADLINE_S = 0.03, 0.5


def _with_points(rule: Rule, names: tuple[str, ...]) -> Rule:
    """Return a rule that takes custom points, too, if it records at all."""
    return rule.model_copy(update={"points": (*rule.points, *names)}) if rule.mode == "capture" else rule


class Capture:
    """A running trace: what happens between entering and leaving becomes a session.

    Parameters
    ----------
    rules : sequence of Rule
        Active from beginning to end.
    links : callable
        Returns the rows of the links table; called when the trace has ended.
    containers : callable, optional
        Returns the containers known; rules with selectors need it.
    context : mapping, optional
        More entries for the manifest (topology, image, …).
    probes : sequence of Probe, optional
        Custom points; every rule that captures takes them.
    **reading
        How events are read: ``ring_bytes``, ``poll_s`` and ``max_bytes`` of `cmonlab.tracing.tracer.Tracer`.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        links: Callable[[], list[dict]],
        containers: Callable[[], Sequence] = tuple,
        context: Mapping | None = None,
        probes: Sequence[Probe] = (),
        **reading: float,
    ):
        from cmonlab.rules import compile_rules
        from cmonlab.tracing.budgets import Budgets
        from cmonlab.tracing.kernel.programs import available
        from cmonlab.tracing.members import Members
        from cmonlab.tracing.tracer import Tracer

        own = tuple(probe.name for probe in probes)
        self._available = [*(point.name for point in available()), *own]
        self._rules = [_with_points(rule, own) for rule in rules]
        self._written = dict(zip(compile_rules(self._rules, self._available), self._rules, strict=True))
        self._members = Members(containers)
        self._tracer = Tracer(probes=probes, **reading)
        self._budgets = Budgets(self._tracer, self._reactivate, self._available)
        self._links, self._context = links, dict(context or {})
        self._started_ns = 0

    def __enter__(self) -> Capture:
        try:
            self._tracer.start(list(self._written), self._members.begin(self._rules))
            self._budgets.follow(self._rules)
        except BaseException:
            self.close()
            raise
        self._started_ns = time.monotonic_ns()
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def _reactivate(self) -> None:
        from cmonlab.rules import compile_rules

        rules = self._budgets.effective(self._rules)
        plans = compile_rules(rules, self._available)
        self._tracer.apply(plans, self._members.begin(rules))
        self._written |= dict(zip(plans, rules, strict=True))

    def containers_changed(self, _changed: object = None) -> None:
        """Let the rules follow the containers; for `cmonlab.lab.inventory.inventory.Inventory.on_change`."""
        self._members.follow(self._tracer.active.set_members)

    def close(self) -> None:
        """Detach and free everything; may be called twice."""
        self._budgets.close()
        self._tracer.close()

    def time_programs(self) -> AbstractContextManager[dict[str, tuple[float, int]]]:
        """Count how long the programs run while a block does; see `cmonlab.tracing.cost.time_programs`."""
        from cmonlab.tracing.cost import time_programs

        return time_programs(self._tracer.active)

    @property
    def events(self) -> int:
        """Events read so far."""
        return self._tracer.events

    @property
    def full(self) -> bool:
        """Whether memory is used up; later events count as lost."""
        return self._tracer.full

    def drain(self) -> None:
        """Wait until packets on their way have arrived: no new event for a moment, or half a second."""
        deadline = time.monotonic() + _QUIET_DEADLINE_S
        seen, since = self.events, time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - since < _QUIET_S:
            time.sleep(0.005)
            if self.events != seen:
                seen, since = self.events, time.monotonic()

    def session(self, workload: Mapping | None = None, ended: str = "finished") -> Session:
        """Stop tracing and return the session.

        Parameters
        ----------
        workload : mapping, optional
            The workload's own account of itself.
        ended : str
            ``finished``, ``interrupted`` or ``workload failed``; what finished may become
            ``memory limit reached``.

        Raises
        ------
        NotTraceable
            Reading broke off; the session up to then is in the error's ``session``.
        """
        from cmonlab.tracing.kernel.probes import described

        ended_ns = time.monotonic_ns()
        self._budgets.close()
        recording = self._tracer.stop()
        columns = store.columns_of(recording.chunks)
        if self.full and ended == "finished":
            ended = "memory limit reached"
        points = self._tracer.points
        drops = [point.id for point in points if point.stage == "drop"]
        entries = {
            **provenance.of_host(),
            **provenance.of_recording(
                points=points,
                ledgers=recording.ledgers.values(),
                tallies=recording.tallies,
                trace_gaps=recording.trace_gaps,
                addresses6=recording.addresses6,
                code=columns["aux"][np.isin(columns["point"], drops)].tolist(),
            ),
            "rules": provenance.of_rules(recording.rules, self._written, self._tracer.active.epoch),
            "budget": self._budgets.told(),
            "workload": workload,
            "recording": {
                "started_ns": self._started_ns,
                "seconds": (ended_ns - self._started_ns) / 1e9,
                "ended": ended,
                "reader_cpu_s": recording.reader_cpu_s,
            },
            "links": self._links(),
            **self._context,
        }
        aggregates = notes = None
        if any(rule.plan.mode == "aggregate" for rule in recording.rules):
            aggregates = cells.columns_of(recording.cells)
        if self._tracer.probes:
            entries["probes"] = described(self._tracer.probes, self._tracer.own)
            notes = extras.columns_of(recording.notes)
        session = Session(columns, entries, aggregates, notes)
        try:
            self.check()
        except NotTraceable as error:
            error.session = session
            raise
        return session

    def check(self) -> None:
        """Refuse when reading broke off.

        Raises
        ------
        NotTraceable
            It did.
        """
        if (cause := self._tracer.error) is not None:
            raise NotTraceable(
                "reading the events broke off", why=repr(cause), fix="report it; what was not read counts as lost"
            ) from cause
