"""The programs of one epoch, and a rule with the epochs that it was active in."""

from __future__ import annotations

from dataclasses import dataclass, field

from cmonlab.points.catalogue import Point
from cmonlab.rules import Plan

from .kernel import bpf


@dataclass
class Rule:
    """An active rule, or one that was.

    Attributes
    ----------
    slot : int
        Number of its bit in the records, 0 to 15.
    plan : Plan
        The compiled rule.
    first, last : int
        First and last epoch in which it was active; `last` is 0 while it is active.
    """

    slot: int
    plan: Plan
    first: int
    last: int = 0


@dataclass
class Generation:
    """The programs of one epoch.

    Attributes
    ----------
    epoch : int
        Number of the rule set.
    programs : dict of Point to int
        fds of the programs.
    links : list of int
        fds of the links that attach them.
    skipped : dict of Point to int
        Skipped runs (`skipped_runs`) when the epoch began; when it ends, those during the epoch.
    """

    epoch: int = 0
    programs: dict[Point, int] = field(default_factory=dict)
    links: list[int] = field(default_factory=list)
    skipped: dict[Point, int] = field(default_factory=dict)


def skipped_runs(generation: Generation) -> dict[Point, int]:
    """Return by point how often the kernel has skipped its program because it interrupted itself."""
    return {point: bpf.program_stats(fd)[2] for point, fd in generation.programs.items()}
