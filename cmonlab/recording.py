"""Record: trace what a rule matches while a workload runs, and make a session of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import cells, extras, provenance, store
from .errors import NotTraceable, RuleError, UnknownName, WorkloadError
from .interrupt import interruptible, uninterrupted
from .progress import INTERRUPTED, Progress, Tell, shown
from .session import Session

if TYPE_CHECKING:
    from .probe import Probe
    from .rules import Rule

_QUIET_S, _QUIET_DEADLINE_S = 0.03, 0.5


def rules_of(rule: str | Path | Rule | Sequence[Rule], points: Sequence[str] | None = None) -> list[Rule]:
    """Return rules however they were given.

    Parameters
    ----------
    rule : str, Path, Rule or sequence of Rule
        A text is a pcap expression (pcap-filter(7)), empty for all IP packets; a path is
        a file of rules.
    points : sequence of str, optional
        Points or groups, with an expression only.

    Raises
    ------
    RuleError
        A rule is wrong.
    """
    from .rules import Rule, load_rules

    if isinstance(rule, str):
        return [Rule.from_expression(rule, **({} if points is None else {"points": list(points)}))]
    if points is not None:
        raise RuleError("points were given beside rules", why="each rule says its own", fix="put them into the rule")
    return list(load_rules(rule) if isinstance(rule, Path) else [rule] if isinstance(rule, Rule) else rule)


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
        How events are read: ``ring_bytes``, ``poll_s`` and ``max_bytes`` of `cmonlab.kernel.tracer.Tracer`.
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
        from .agent.members import Members
        from .budgets import Budgets
        from .kernel.programs import available
        from .kernel.tracer import Tracer
        from .rules import standardise

        own = tuple(probe.name for probe in probes)
        self._available = [*(point.name for point in available()), *own]
        self._rules = [_with_points(rule, own) for rule in rules]
        self._written = dict(zip(standardise(self._rules, self._available), self._rules, strict=True))
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
        from .rules import standardise

        rules = self._budgets.effective(self._rules)
        plans = standardise(rules, self._available)
        self._tracer.apply(plans, self._members.begin(rules))
        self._written |= dict(zip(plans, rules, strict=True))

    def containers_changed(self, _changed: object = None) -> None:
        """Let the rules follow the containers; for `cmonlab.topology.inventory.Inventory.on_change`."""
        self._members.follow(self._tracer.active.set_members)

    def close(self) -> None:
        """Detach and free everything; may be called twice."""
        self._budgets.close()
        self._tracer.close()

    def weighed(self) -> AbstractContextManager[dict[str, tuple[float, int]]]:
        """Count how long the programs run while a block does; see `cmonlab.kernel.meter.weighed`."""
        from .kernel.meter import weighed

        return weighed(self._tracer.active)

    @property
    def events(self) -> int:
        """Events read so far."""
        return self._tracer.events

    @property
    def full(self) -> bool:
        """Whether memory is used up; later events count as lost."""
        return self._tracer.full

    def settle(self) -> None:
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
        from .kernel.custom import described

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
                blind=recording.blind,
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


def record(
    lab,
    workload,
    rule: str | Path | Rule | Sequence[Rule] | None = None,
    *,
    duration_s: float = 10.0,
    points: Sequence[str] | None = None,
    probes: Sequence[Probe] = (),
    overhead: bool | int = False,
    progress: Progress = None,
) -> Session:
    """Run a workload in a lab and record its packets.

    Parameters
    ----------
    lab : Lab
        Deployed containers.
    workload : Workload
        For instance ``Memcached(server="c0", client="c1")``.
    rule : str, Path, Rule or sequence of Rule, optional
        A pcap expression (pcap-filter(7)), a file of rules, or rules; by default the
        workload's own traffic.
    duration_s : float
        How long the workload runs.
    points : sequence of str, optional
        With an expression: names of points or groups, by default the group ``default``.
    probes : sequence of Probe, optional
        Custom points; see ``session.probe(name)`` for what they took down.
    overhead : bool or int
        Measure observer overhead before: `cmonlab.overhead.measure` with these rules, in
        so many rounds, or in its own number of them; see ``session.overhead()``.
    progress : callable or False, optional
        Called with a phrase and a fraction from 0 to 1; False: quiet; by default a bar on a
        terminal and in a notebook.

    Returns
    -------
    Session
        After Ctrl-C, what was recorded up to then; the manifest's ``recording.ended``
        says so.

    Raises
    ------
    NotTraceable, ProbeError, RuleError, UnknownName, DockerError, WorkloadError
        An error that comes while the workload runs has the session up to then in its
        attribute ``session``.
    """
    from .overhead import ROUNDS, Traced, check_rounds, measure
    from .topology.inventory import Inventory
    from .topology.recipe import versions

    for name in workload.containers:
        if name not in lab.containers:
            raise UnknownName("container", name, lab.containers)
    check_duration(duration_s)
    rounds = ROUNDS if overhead is True else overhead
    if rounds:
        check_rounds(rounds)
    rules = rules_of(workload.default_rule if rule is None else rule, points)
    with shown(progress, workload.name) as say, uninterrupted() as pending:
        with ExitStack() as stack:
            with interruptible():
                inventory = stack.enter_context(Inventory.of(lab))
                say("compiling the eBPF programs", 0.0)
                context = {"topology": lab.topology.describe(), "lab": lab.describe(), "packages": versions()}
                if rounds:
                    watch = Traced(rules, inventory.containers, probes)
                    context["overhead"] = measure(lab, workload, {"traced": watch}, rounds, progress=say).describe()
                capture = Capture(rules, inventory.links, inventory.containers, context, probes)
                stack.callback(capture.close)
                inventory.on_change(capture.containers_changed)
                say("starting the workload's servers", 0.0)
                workload.prepare(lab)
            stack.enter_context(capture)
            session = _run(capture, workload, lab, duration_s, say)
            session.manifest["inventory"] = {"missed": list(inventory.missed), "error": inventory.error}
        if pending:
            # Ctrl-C came after the workload: there is a session to hand back, so it is told there.
            pending.clear()
            session.manifest["recording"]["ended"] = "interrupted"
            say(INTERRUPTED, 1.0)
    return session


def check_duration(duration_s: float) -> None:
    """Refuse what is no number of seconds above 0.

    Raises
    ------
    WorkloadError
        It is not.
    """
    if not 0 < duration_s < math.inf:
        raise WorkloadError(f"a duration of {duration_s} s cannot be run", fix="give a number of seconds above 0")


def _run(capture: Capture, workload, lab, duration_s: float, say: Tell) -> Session:
    """Run the workload; whatever ends it, what was recorded becomes a session."""
    account, ended = workload.describe(), "finished"
    try:
        with interruptible():
            result = workload.run(
                lab, duration_s, lambda at_s: say(f"{capture.events:,} events", min(at_s / duration_s, 1.0))
            )
            account = result.describe()
            capture.settle()
    except KeyboardInterrupt:
        ended = "interrupted"
        say(INTERRUPTED, 1.0)
    except Exception as error:
        told = getattr(error, "what", None) or f"{type(error).__name__}: {error}"
        with suppress(Exception):  # the workload's error is the one to tell
            error.session = capture.session(account | {"error": told}, "workload failed")
        raise
    return capture.session(account, ended)
