"""From what users write to standard rules: everything that the kernel side needs, spelled out."""

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

#: The hash of a packet has 32 bits.
_ALL = 2**32 - 1
#: What `default` means to a mode; others take the group of that name. Histograms need
#: no deliveries to sockets: they are told apart per packet, and nothing of it is kept.
_DEFAULTS = {"aggregate": ("path", "drops", "tcp")}


@dataclass(frozen=True)
class Plan:
    """A standard rule.

    Attributes
    ----------
    name : str
    mode : str
        ``"capture"``, ``"aggregate"`` or ``"count"``.
    filter : tuple of Instruction
        Classic BPF for a packet from its IP header on.
    points : tuple of str
        Points that this kernel has, in the order of the catalogue, custom ones last.
    sample : int
        A packet is in the sample if its 32-bit hash is not above; ``2**32 - 1`` takes all.
    begin : int
        The same for the beginning, where a budget decides how much is taken later.
    budgeted : bool
        Whether one does.
    limit : int
        Events a second, 0 without limit.
    by_flow : bool
        Aggregates by flow and not by pair of addresses.
    selected : bool
        Only packets of selected containers count; see `selects`.
    incoming, outgoing : bool
        Whether packets to the selected containers count, and whether those from them do.
    duration_s : float or None
        After which the rule ends; None until it is removed.
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
    """Turn rules into standard rules.

    Parameters
    ----------
    rules : sequence of Rule
        At most `MAX_RULES`, no name twice.
    available : sequence of str
        Names of the points that this kernel has, custom ones included.

    Returns
    -------
    list of Plan
        In the order of `rules`.

    Raises
    ------
    RuleError
        The rules do not go together, an expression does not parse, or a point or group
        of that name is unknown.
    NotTraceable
        This kernel lacks a point that is named, or all points of a group; or libpcap is
        not installed.
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
    """Return the greatest hash of a packet that is in a sample."""
    return max(0, round(share * 2**32) - 1)


def compiled(rule: Rule) -> tuple[Instruction, ...]:
    """Return the program of a rule's expression.

    Raises
    ------
    RuleError
        It does not parse; the message names the rule.
    NotTraceable
        libpcap is not installed.
    """
    try:
        return tuple(compile_expression(rule.match.packets))
    except RuleError as error:
        what = f"rule {rule.name!r}: the expression {short(rule.match.packets)} cannot be used"
        raise RuleError(what, why=error.why, fix=error.fix) from error


def points_of(rule: Rule, available: Sequence[str]) -> tuple[str, ...]:
    """Return the points of a rule, `default` being that of its mode; see `resolve_points`."""
    default = _DEFAULTS.get(rule.mode, ("default",))
    wanted = [word for given in rule.points for word in (default if given == "default" else (given,))]
    try:
        return resolve_points(wanted, available)
    except UnknownName as error:
        raise RuleError(f"rule {rule.name!r}: {error.what}", fix=error.fix) from None
    except NotTraceable as error:
        raise NotTraceable(f"rule {rule.name!r}: {error.what}", why=error.why, fix=error.fix) from None


def resolve_points(wanted: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """Return the points that names and groups stand for.

    Parameters
    ----------
    wanted : sequence of str
        Names of points, groups of `cmonlab.points.catalogue`, or ``"all"``.
    available : sequence of str
        Names of the points that this kernel has, custom ones included.

    Returns
    -------
    tuple of str
        Those that this kernel has, each once, in the order of the catalogue, custom ones last.

    Raises
    ------
    UnknownName
        There is no such point or group.
    NotTraceable
        This kernel lacks a point that is named, or every point of the groups.
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
    """Tell whether a rule's selectors choose a container.

    Every kind that is given must hold, and of a kind any value. A rule without
    selectors chooses every container.
    """
    wanted = rule.match.containers
    if wanted is None:
        return True
    given = (
        (wanted.name, [container.name]),
        (wanted.image, [container.image]),
        (wanted.network, container.networks),
    )
    if any(patterns and not _any_fits(patterns, texts) for patterns, texts in given):
        return False
    return wanted.label is None or any(_has_label(container, label) for label in wanted.label)


def _any_fits(patterns: Sequence[str], texts: Sequence[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns for text in texts)


def _has_label(container: ContainerFacts, label: str) -> bool:
    key, equals, value = label.partition("=")
    return key in container.labels and (not equals or container.labels[key] == value)
