"""A running trace, which becomes a session when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from cmonlab.data.store import cells, directory, probe_values
from cmonlab.errors import NotTraceable
from cmonlab.session.session import Session

from . import provenance

if TYPE_CHECKING:
    from cmonlab.points.probe import Probe
    from cmonlab.rules import Rule
    from cmonlab.tracing.members import Container
    from cmonlab.tracing.tracer import Recording

_QUIET_S, _QUIET_DEADLINE_S = 0.03, 0.5


class Reading(TypedDict, total=False):
    """How events are read; see `cmonlab.tracing.tracer.Tracer`."""

    ring_bytes: int
    poll_s: float
    max_bytes: int


def _with_points(rule: Rule, names: tuple[str, ...]) -> Rule:
    """Return a rule with these points, too, if it records events."""
    return rule.model_copy(update={"points": (*rule.points, *names)}) if rule.mode == "capture" else rule


class Capture:
    """A running trace: tracing begins when its block is entered, and `session` ends it.

    Parameters
    ----------
    rules : sequence of Rule
        Active from beginning to end.
    links : callable
        Returns rows of the table ``links``; called when the trace has ended.
    containers : callable, optional
        Returns the known containers; rules with container selectors need it.
    context : mapping, optional
        More entries for the manifest (topology, image, …).
    probes : sequence of Probe, optional
        Custom probes; every rule in mode ``capture`` records them.
    **reading
        How events are read: ``ring_bytes`` (bytes), ``poll_s`` (s) and ``max_bytes`` (bytes) of
        `cmonlab.tracing.tracer.Tracer`.

    Raises
    ------
    NotTraceable
        This host cannot trace.
    RuleError
        A rule names a point that this kernel does not have, or the rules exclude each other.
    ProbeError
        A probe does not work on this kernel.

    Examples
    --------
    >>> with Inventory() as inventory, Capture([rule], inventory.links, inventory.containers) as capture:
    ...     send_packets()
    ...     capture.drain()
    ...     session = capture.session()
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        links: Callable[[], list[dict[str, Any]]],
        containers: Callable[[], Sequence[Container]] = tuple,
        context: Mapping[str, Any] | None = None,
        probes: Sequence[Probe] = (),
        **reading: Unpack[Reading],
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
        """Update the rules with container selectors: a callback for `Inventory.on_change`."""
        self._members.follow(self._tracer.active.set_members)

    def close(self) -> None:
        """Detach the programs and free everything. Idempotent."""
        self._budgets.close()
        self._tracer.close()

    def time_programs(self) -> AbstractContextManager[dict[str, tuple[float, int]]]:
        """Time the programs while a block runs; see `cmonlab.tracing.cost.time_programs`."""
        from cmonlab.tracing.cost import time_programs

        return time_programs(self._tracer.active)

    @property
    def events(self) -> int:
        """Events read so far."""
        return self._tracer.events

    @property
    def full(self) -> bool:
        """Whether the memory for events is full; later events count as lost."""
        return self._tracer.full

    def drain(self) -> None:
        """Wait for in-flight packets: until there is no new event for 30 ms, at most 0.5 s."""
        deadline = time.monotonic() + _QUIET_DEADLINE_S
        seen, since = self.events, time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - since < _QUIET_S:
            time.sleep(0.005)
            if self.events != seen:
                seen, since = self.events, time.monotonic()

    def session(self, workload: Mapping[str, Any] | None = None, ended: str = "finished") -> Session:
        """Stop tracing and return the session.

        Parameters
        ----------
        workload : mapping, optional
            The workload's result, for the manifest.
        ended : str
            ``finished``, ``interrupted`` or ``workload failed``; ``finished`` becomes ``memory limit reached`` if
            the memory for events is full.

        Returns
        -------
        Session

        Raises
        ------
        NotTraceable
            Reading the events failed; the error's attribute ``session`` has the session until then.
        """
        ended_ns = time.monotonic_ns()
        self._budgets.close()
        recording = self._tracer.stop()
        if self.full and ended == "finished":
            ended = "memory limit reached"
        columns = directory.columns_of(recording.chunks)
        manifest = self._manifest(recording, columns)
        manifest["workload"] = workload
        manifest["recording"] = {
            "started_ns": self._started_ns,
            "seconds": (ended_ns - self._started_ns) / 1e9,
            "ended": ended,
            "reader_cpu_s": recording.reader_cpu_s,
        }
        counted = any(rule.plan.mode == "aggregate" for rule in recording.rules)
        aggregates = cells.columns_of(recording.cells) if counted else None
        values = probe_values.columns_of(recording.probe_values) if self._tracer.probes else None
        session = Session(columns, manifest | self._context, aggregates, values)
        try:
            self.check()
        except NotTraceable as error:
            attach_session(error, session)
            raise
        return session

    def _manifest(self, recording: Recording, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the entries about this host, the rules and the results of the tracer."""
        from cmonlab.tracing.kernel.probes import described

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
            "budget": self._budgets.summary(),
            "links": self._links(),
        }
        if self._tracer.probes:
            entries["probes"] = described(self._tracer.probes, self._tracer.probe_points)
        return entries

    def check(self) -> None:
        """Raise an error if reading the events has failed.

        Raises
        ------
        NotTraceable
            It has.
        """
        if (cause := self._tracer.error) is not None:
            raise NotTraceable(
                "reading the events failed", why=repr(cause), fix="report it; what was not read counts as lost"
            ) from cause


def attach_session(error: BaseException, session: Session) -> None:
    """Give an error the session that was recorded until it, as its attribute ``session``.

    Parameters
    ----------
    error : BaseException
    session : Session
    """
    vars(error)["session"] = session
