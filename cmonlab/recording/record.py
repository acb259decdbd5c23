"""Record: trace the packets that a rule matches while a workload runs, and make a session of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cmonlab.errors import RuleError, UnknownName, WorkloadError
from cmonlab.progress import INTERRUPTED, Progress, Report, shown
from cmonlab.session.session import Session
from cmonlab.system.signals import defer_signals, interruptible

if TYPE_CHECKING:
    from cmonlab.lab.inventory.inventory import Inventory
    from cmonlab.lab.topology.deploy import Lab
    from cmonlab.lab.workload import Workload
    from cmonlab.points.probe import Probe
    from cmonlab.rules import Rule

    from .capture import Capture


def rules_of(rule: str | Path | Rule | Sequence[Rule], points: Sequence[str] | None = None) -> list[Rule]:
    """Return rules from any of the forms that `record` takes.

    Parameters
    ----------
    rule : str, Path, Rule or sequence of Rule
        A str is a pcap expression (pcap-filter(7)), empty for all IP packets; a Path is a file of rules.
    points : sequence of str, optional
        Names of points or groups, with an expression only.

    Returns
    -------
    list of Rule

    Raises
    ------
    RuleError
        A rule does not parse, or points were given together with rules.
    """
    from cmonlab.rules import Rule, load_rules

    if isinstance(rule, str):
        return [Rule.from_expression(rule) if points is None else Rule.from_expression(rule, points=list(points))]
    if points is not None:
        raise RuleError(
            "points were given together with rules", why="each rule has its own points", fix="put them into the rule"
        )
    return list(load_rules(rule) if isinstance(rule, Path) else [rule] if isinstance(rule, Rule) else rule)


def record(
    lab: Lab,
    workload: Workload,
    rule: str | Path | Rule | Sequence[Rule] | None = None,
    *,
    duration_s: float = 10.0,
    points: Sequence[str] | None = None,
    probes: Sequence[Probe] = (),
    overhead: bool | int = False,
    progress: Progress = None,
) -> Session:
    """Run a workload in a lab and record its packets.

    An error that is raised while the workload runs has the session until then in its attribute ``session``.

    Parameters
    ----------
    lab : Lab
        Deployed containers.
    workload : Workload
        For instance ``Memcached(server="c0", client="c1")``.
    rule : str, Path, Rule or sequence of Rule, optional
        A pcap expression (pcap-filter(7)), a file of rules, or rules; by default the workload's own traffic.
    duration_s : float
        How long the workload runs, in s.
    points : sequence of str, optional
        With an expression: names of points or groups, by default the group ``default``.
    probes : sequence of Probe, optional
        Custom probes; ``session.probe(name)`` returns their values.
    overhead : bool or int
        Measure tracing overhead first, with these rules and this number of rounds (True: the default number); see
        `cmonlab.recording.overhead.measure` and ``session.overhead()``.
    progress : callable or False, optional
        Called with a phrase and a fraction from 0 to 1; False: quiet; by default a bar on a terminal and in a
        notebook.

    Returns
    -------
    Session
        After Ctrl-C, what was recorded until then; the manifest's ``recording.ended`` says so.

    Raises
    ------
    UnknownName
        The lab has no container that the workload uses.
    RuleError
        A rule is wrong.
    ProbeError
        A probe is wrong, or the kernel refuses it.
    NotTraceable
        This host cannot trace, or reading the events failed.
    DockerError
        The Docker engine refused.
    WorkloadError
        The workload failed, or a number is out of range.

    Examples
    --------
    >>> with cm.templates.bridge(2).deploy() as lab:
    ...     session = cm.record(lab, cm.Memcached(), duration_s=5)
    >>> session.breakdown()
    """
    from cmonlab.lab.inventory.inventory import Inventory

    from .overhead import ROUNDS, check_rounds

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
                capture = _capture(lab, workload, inventory, rules, probes, rounds, say)
                stack.callback(capture.close)
                inventory.on_change(capture.containers_changed)
                say("starting the workload's servers", 0.0)
                workload.prepare(lab)
            stack.enter_context(capture)
            session = _run(capture, workload, lab, duration_s, say)
            session.manifest["inventory"] = {"missed": list(inventory.missed), "error": inventory.error}
        if pending:
            # Ctrl-C came after the workload: the session is complete, so it is returned, and its manifest says so.
            pending.clear()
            session.manifest["recording"]["ended"] = "interrupted"
            say(INTERRUPTED, 1.0)
    return session


def check_duration(duration_s: float) -> None:
    """Refuse a duration, in s, that is not a finite number above 0.

    Raises
    ------
    WorkloadError
        It is not.
    """
    if not 0 < duration_s < math.inf:
        raise WorkloadError(f"a duration of {duration_s} s cannot be run", fix="give a number of seconds above 0")


def _capture(
    lab: Lab,
    workload: Workload,
    inventory: Inventory,
    rules: Sequence[Rule],
    probes: Sequence[Probe],
    rounds: int,
    say: Report,
) -> Capture:
    """Measure tracing overhead, if rounds are wanted, and return the capture, which has not begun."""
    from cmonlab.lab.docker.recipe import versions

    from .capture import Capture
    from .overhead import measure
    from .traced import Traced

    context = {"topology": lab.topology.describe(), "lab": lab.describe(), "packages": versions()}
    if rounds:
        tracer = Traced(rules, inventory.containers, probes)
        context["overhead"] = measure(lab, workload, {"traced": tracer}, rounds, progress=say).describe()
    return Capture(rules, inventory.links, inventory.containers, context, probes)


def _run(capture: Capture, workload: Workload, lab: Lab, duration_s: float, say: Report) -> Session:
    """Run the workload and return the session, whatever ends the workload."""
    from .capture import attach_session

    summary, ended = workload.describe(), "finished"
    try:
        with interruptible():
            result = workload.run(
                lab, duration_s, lambda at_s: say(f"{capture.events:,} events", min(at_s / duration_s, 1.0))
            )
            summary = result.describe()
            capture.drain()
    except KeyboardInterrupt:
        ended = "interrupted"
        say(INTERRUPTED, 1.0)
    except Exception as error:
        what = getattr(error, "what", None) or f"{type(error).__name__}: {error}"
        with suppress(Exception):  # an error of the capture must not replace the workload's
            attach_session(error, capture.session(summary | {"error": what}, "workload failed"))
        raise
    return capture.session(summary, ended)
