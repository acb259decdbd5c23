"""The goals for speed, memory and tracing overhead, and whether the measurements meet them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

from cmonlab.data.analysis.stats import summarise
from cmonlab.errors import UnknownName

MEETS = {"at least": operator.ge, "at most": operator.le}


@dataclass(frozen=True)
class Goal:
    """A goal, which can be judged in several cases.

    Attributes
    ----------
    key : str
        Its name in the code.
    part : str
        The part of the benchmarks that judges it.
    name : str
    sense : {"at least", "at most"}
    value : float
    unit : str
        Empty for a ratio.
    """

    key: str
    part: str
    name: str
    sense: str
    value: float
    unit: str = ""


GOALS = {
    goal.key: goal
    for goal in (
        Goal("reading", "reading", "CPU an event: bcc's callback / cmonlab's reader", "at least", 25.0),
        Goal("unmatched", "kernel", "run time: unmatched packet / empty program", "at most", 1.5),
        Goal("aggregate", "kernel", "run time: aggregate / floor program", "at most", 1.0),
        Goal("capture", "kernel", "run time: capture / floor program", "at most", 1.3),
        Goal("containers", "containers", "run time: a packet with 200 namespaces / with 2", "at most", 1.1),
        Goal("programs", "containers", "programs at each point with 200 namespaces", "at most", 1.0, "programs"),
        Goal("capture adds", "peers", "p50 added: capture at all points, less tcpdump -i any", "at most", 0.0, "us"),
        Goal("aggregate adds", "peers", "p50 added: aggregate, less half of tcpdump -i any", "at most", 0.0, "us"),
        Goal("throughput", "peers", "throughput: aggregate / untraced", "at least", 0.97),
        Goal("peers", "peers", "overhead beyond the lowest peer's", "at most", 0.0),
        Goal("agent memory", "agent", "agent: resident memory", "at most", 150.0, "MiB"),
        Goal("agent idle", "agent", "agent: share of one core when idle", "at most", 0.02),
        Goal("agent first", "agent", "agent: from apply to the first event", "at most", 1.5, "s"),
        Goal("agent change", "agent", "agent: a change of rules takes effect", "at most", 1.0, "s"),
        Goal("histogram", "live", "histograms: largest relative error of a time", "at most", 0.03),
        Goal("bytes", "events", "Parquet: size of an event", "at most", 16.0, "bytes"),
        Goal("breakdown", "events", "events to breakdown on two cores / one stable argsort", "at most", 1.5),
        Goal("memory", "events", "events to breakdown: peak of memory / size of the events", "at most", 3.0),
        Goal("large", "large", "a session of 50 million events: peak of resident memory", "at most", 8.0, "GiB"),
    )
}


@dataclass(frozen=True)
class Target:
    """A goal and the measurement of one case.

    Attributes
    ----------
    key : str
        Of `GOALS`.
    name : str
        Names of the goal and of the case.
    sense : {"at least", "at most"}
    goal : float
    unit : str
    value : float
        Median over the rounds.
    spread : (float, float)
        Quartiles over the rounds.
    interval : (float, float)
        95% interval of the median.
    rounds : int
    met : bool
        Whether the median meets the goal.
    sure : bool
        Whether the whole interval is on the same side of the goal as the median.
    """

    key: str
    name: str
    sense: str
    goal: float
    unit: str
    value: float
    spread: tuple[float, float]
    interval: tuple[float, float]
    rounds: int
    met: bool
    sure: bool


def judge(key: str, samples: Sequence[float], case: str = "", unit: str = "") -> Target:
    """Compare the median of `samples` with a goal.

    Parameters
    ----------
    key : str
        Of `GOALS`.
    samples : sequence of float
        One value per round.
    case : str
        Name of the case, which distinguishes it from others of the same goal.
    unit : str
        Unit of this case, if the cases of the goal have several units.

    Raises
    ------
    UnknownName
        There is no such goal.
    ValueError
        No samples.
    """
    if key not in GOALS:
        raise UnknownName("goal", key, GOALS)
    goal = GOALS[key]
    meets, found = MEETS[goal.sense], summarise(samples)
    met = bool(meets(found.median, goal.value))
    sure = all(bool(meets(end, goal.value)) == met for end in found.interval)
    return Target(
        key,
        f"{goal.name}, {case}" if case else goal.name,
        goal.sense,
        goal.value,
        unit or goal.unit,
        found.median,
        found.quartiles,
        found.interval,
        found.n,
        met,
        sure,
    )


def unjudged(targets: Sequence[Target], parts: Sequence[str]) -> list[Goal]:
    """Return the goals of these parts that have no measurement."""
    judged = {target.key for target in targets}
    return [goal for goal in GOALS.values() if goal.part in parts and goal.key not in judged]
