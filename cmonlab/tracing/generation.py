"""The programs of one epoch, and a rule that is or was at work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cmonlab.points.catalogue import Point

from .kernel import bpf


@dataclass
class Rule:
    """An active rule, or one that was.

    Attributes
    ----------
    slot : int
        Its bit in the records.
    plan : object
        The standard rule (`cmonlab.rules.plan.Plan`).
    first, last : int
        Epochs that it was in; `last` is 0 while it is active.
    """

    slot: int
    plan: Any
    first: int
    last: int = 0


@dataclass
class Generation:
    """The programs of one epoch."""

    epoch: int = 0
    programs: dict[Point, int] = field(default_factory=dict)
    links: list[int] = field(default_factory=list)
    skipped: dict[Point, int] = field(default_factory=dict)  # runs that the kernel had skipped when it began


def skipped_runs(generation: Generation) -> dict[Point, int]:
    """Return how often the kernel skipped a point's program as recursive, since it was loaded."""
    return {point: bpf.program_stats(fd)[2] for point, fd in generation.programs.items()}
