"""Compilation of rules to plans, which contain everything that the kernel programs need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cmonlab.errors import NotTraceable, RuleError, UnknownName
from cmonlab.filters.pcapfilter import Instruction, compile_expression
from cmonlab.points.catalogue import BY_NAME, CATALOGUE, groups

from .budget import LOWEST
from .model import ContainerFacts, Rule, RuleSet
from .problems import short

#: Groups that `default` means in a mode; in other modes it is the group of that name. Aggregates do not use deliveries
#: to sockets, which belong to single packets.
_DEFAULTS = {"aggregate": ("path", "drops", "tcp")}


@dataclass(frozen=True)
class Plan:
    """A compiled rule.

    Attributes
    ----------
    name : str
        Name of the rule.
    mode : str
        ``"capture"``, ``"aggregate"`` or ``"count"``.
    filter : tuple of Instruction
        Classic BPF for a packet from its IP header on.
    points : tuple of str
        Points that this kernel has, in the order of the catalogue, custom probes last.
    sample : int
        A packet is in the sample if its 32-bit hash is at most this; ``2**32 - 1`` takes all packets.
    begin : int
        The same for the start of the rule, before a budget changes it.
    budgeted : bool
        Whether the rule has a budget.
    limit : int
        Largest number of events per second, 0 without limit.
    by_flow : bool
        Whether the rule aggregates by flow, and not by pair of addresses.
    selected : bool
        Whether only packets of selected containers match; see `selects`.
    incoming, outgoing : bool
        Whether packets to the selected containers match, and whether packets from them do.
    duration_s : float or None
        Seconds after which the rule ends; None if it stays until it is removed.
    """

    name: str
    mode: str
    filter: tuple[Instruction, ...]
    points: tuple[str, ...]
    sample: int
    begin: int
    budgeted: bool
    limit: int
    by_flow: bool
    selected: bool
    incoming: bool
    outgoing: bool
    duration_s: float | None


def compile_rules(rules: Sequence[Rule], available: Sequence[str]) -> list[Plan]:
    """Compile rules for the kernel programs.

    Parameters
    ----------
    rules : sequence of Rule
        At most `MAX_RULES`, each with its own name.
    available : sequence of str
        Names of the points that this kernel has, custom probes included.

    Returns
    -------
    list of Plan
        One per rule, in the same order.

    Raises
    ------
    RuleError
        There are too many rules, two have the same name, an expression does not parse, or a point or group is
        unknown.
    NotTraceable
        This kernel lacks a point that a rule names, or all points of a group; or libpcap is not installed.
    """
    checked = RuleSet(rules=tuple(rules)).rules if rules else ()
    return [_plan(rule, available) for rule in checked]


def _plan(rule: Rule, available: Sequence[str]) -> Plan:
    match = rule.match
    return Plan(
        name=rule.name,
        mode=rule.mode,
        filter=compiled(rule),
        points=points_of(rule, available),
        sample=threshold(rule.sample),
        begin=threshold(min(rule.sample, LOWEST[rule.mode]) if rule.max_overhead else rule.sample),
        budgeted=rule.max_overhead is not None,
        limit=rule.limit or 0,
        by_flow=rule.by == "flow",
        selected=match.containers is not None,
        incoming=match.direction != "out",
        outgoing=match.direction != "in",
        duration_s=rule.duration,
    )


def threshold(share: float) -> int:
    """Return the largest 32-bit hash that is in a sample with this share of the packets (above 0, at most 1)."""
    return max(0, round(share * 2**32) - 1)


def compiled(rule: Rule) -> tuple[Instruction, ...]:
    """Return the classic BPF of a rule's expression.

    Raises
    ------
    RuleError
        The expression does not parse; the message names the rule.
    NotTraceable
        libpcap is not installed.
    """
    try:
        return tuple(compile_expression(rule.match.packets))
    except RuleError as error:
        what = f"rule {rule.name!r}: the expression {short(rule.match.packets)} cannot be used"
        raise RuleError(what, why=error.why, fix=error.fix) from error


def points_of(rule: Rule, available: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a rule's points; `default` means the groups of its mode.

    Parameters
    ----------
    rule : Rule
        The rule.
    available : sequence of str
        Names of the points that this kernel has, custom probes included.

    Returns
    -------
    tuple of str
        As `resolve_points` returns them.

    Raises
    ------
    RuleError
        A point or group is unknown; the message names the rule.
    NotTraceable
        This kernel lacks a point that the rule names, or all points of the groups.
    """
    default = _DEFAULTS.get(rule.mode, ("default",))
    wanted = [name for given in rule.points for name in (default if given == "default" else (given,))]
    try:
        return resolve_points(wanted, available)
    except UnknownName as error:
        raise RuleError(f"rule {rule.name!r}: {error.what}", fix=error.fix) from None
    except NotTraceable as error:
        raise NotTraceable(f"rule {rule.name!r}: {error.what}", why=error.why, fix=error.fix) from None


def resolve_points(wanted: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """Return the points that names and groups mean on this kernel.

    Parameters
    ----------
    wanted : sequence of str
        Names of points, groups of `cmonlab.points.catalogue`, or ``"all"``.
    available : sequence of str
        Names of the points that this kernel has, custom probes included.

    Returns
    -------
    tuple of str
        Points that this kernel has, each once, in the order of the catalogue, custom probes last.

    Raises
    ------
    UnknownName
        There is no such point or group.
    NotTraceable
        This kernel lacks a point that is named, or all points of the groups.
    """
    known = groups() | {"all": [*BY_NAME, *available]}
    chosen: set[str] = set()
    lacking: list[str] = []
    for word in wanted:
        if word in BY_NAME or word in available:
            chosen.add(word)
            lacking += [word] if word not in available else []
        elif word in known:
            chosen.update(known[word])
        else:
            raise UnknownName("point or group", word, {*BY_NAME, *known, *available})
    if lacking:
        raise _lacks(lacking, available)
    found = tuple(
        name for name in (*BY_NAME, *(set(available) - BY_NAME.keys())) if name in chosen and name in available
    )
    if not found:
        names = ", ".join(map(repr, wanted))
        raise NotTraceable(f"this kernel has no point of {names}", fix="name other points; see `cmonlab rules explain`")
    return found


def _lacks(names: Sequence[str], available: Sequence[str]) -> NotTraceable:
    why = [f"{name} came with Linux {BY_NAME[name].since}" for name in names if BY_NAME[name].since]
    instead = [point.name for point in CATALOGUE if point.instead_of in names and point.name in available]
    fix = f"use {' and '.join(instead)} instead" if instead else "leave it out, or name its group"
    return NotTraceable(f"this kernel lacks the point {', '.join(names)}", why="; ".join(why), fix=fix)


def selects(rule: Rule, container: ContainerFacts) -> bool:
    """Return whether a rule selects a container.

    Parameters
    ----------
    rule : Rule
        Its selectors (``match.containers``): each field that is given must match, by any of its values. A rule
        without selectors selects every container.
    container : ContainerFacts
        The container.
    """
    wanted = rule.match.containers
    if wanted is None:
        return True
    given = (
        (wanted.name, [container.name]),
        (wanted.image, [container.image]),
        (wanted.network, container.networks),
    )
    if any(patterns and not _any_matches(patterns, texts) for patterns, texts in given):
        return False
    return wanted.label is None or any(_has_label(container, label) for label in wanted.label)


def _any_matches(patterns: Sequence[str], texts: Sequence[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns for text in texts)


def _has_label(container: ContainerFacts, label: str) -> bool:
    key, equals, value = label.partition("=")
    return key in container.labels and (not equals or container.labels[key] == value)
