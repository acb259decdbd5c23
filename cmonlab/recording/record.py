"""Record: trace what a rule matches while a workload runs, and make a session of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cmonlab.errors import RuleError, UnknownName, WorkloadError
from cmonlab.progress import INTERRUPTED, Progress, Tell, shown
from cmonlab.session.session import Session
from cmonlab.system.signals import interruptible, defer_signals

if TYPE_CHECKING:
    from cmonlab.points.probe import Probe
    from cmonlab.rules import Rule

    from .capture import Capture


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
    from cmonlab.rules import Rule, load_rules

    if isinstance(rule, str):
        return [Rule.from_expression(rule, **({} if points is None else {"points": list(points)}))]
    if points is not None:
        raise RuleError("points were given beside rules", why="each rule says its own", fix="put them into the rule")
    return list(load_rules(rule) if isinstance(rule, Path) else [rule] if isinstance(rule, Rule) else rule)


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
        Measure tracing overhead before: `cmonlab.recording.overhead.measure` with these rules, in
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
    from cmonlab.lab.docker.recipe import versions
    from cmonlab.lab.inventory.inventory import Inventory

    from .capture import Capture
    from .overhead import ROUNDS, check_rounds, measure
    from .traced import Traced

    for name in workload.containers:
        if name not in lab.containers:
            raise UnknownName("container", name, lab.containers)
    check_duration(duration_s)
    rounds = ROUNDS if overhead is True else overhead
    if rounds:
        check_rounds(rounds)
    rules = rules_of(workload.default_rule if rule is None else rule, points)
    with shown(progress, workload.name) as say, defer_signals() as pending:
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
            capture.drain()
    except KeyboardInterrupt:
        ended = "interrupted"
        say(INTERRUPTED, 1.0)
    except Exception as error:
        told = getattr(error, "what", None) or f"{type(error).__name__}: {error}"
        with suppress(Exception):  # the workload's error is the one to tell
            error.session = capture.session(account | {"error": told}, "workload failed")
        raise
    return capture.session(account, ended)
