"""The constants of ``bpf/splice.h``, as a set of rules gives them to a point's program."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cmonlab.points.catalogue import Point
from cmonlab.rules import Plan

from .generation import Rule
from .kernel import loader
from .kernel.defines import defines

_SPLICE = defines("splice.h")
_TASK_EVENTS = {"sched_waking": _SPLICE["TASK_WOKEN"], "sched_switch": _SPLICE["TASK_RUNS"]}
_ALL = 2**32 - 1  # a sample of all packets


def map_constants(module: loader.Module) -> dict[str, int]:
    """Return the constants that depend on the maps, by name."""
    maps = module.maps
    return {"STATE_ADDRESS": maps["states"].fd, "SLOTS": maps["slots"].entries // maps["rings"].entries}


def program_constants(point: Point, epoch: int, rules: Sequence[Rule]) -> dict[str, int]:
    """Return the constants that depend on the point and the rules.

    Parameters
    ----------
    point : Point
        The point that the program is for.
    epoch : int
        Number of the rule set.
    rules : sequence of Rule
        All rules of the set.

    Returns
    -------
    dict of str to int
        By name.
    """
    here = [rule for rule in rules if point.name in rule.plan.points]

    def slots(wanted: Callable[[Plan], object]) -> int:
        return sum(1 << rule.slot for rule in here if wanted(rule.plan))

    captured = {name for rule in rules if rule.plan.mode == "capture" for name in rule.plan.points}
    return {
        "EPOCH": epoch & 0xFFFFFFFF,
        "RULES_ON": slots(lambda plan: True),
        "RULES_END": max((rule.slot + 1 for rule in here), default=0),
        "CAPTURE": slots(lambda plan: plan.mode == "capture"),
        "AGGREGATE": slots(lambda plan: plan.mode == "aggregate"),
        "SELECTED": slots(lambda plan: plan.selected),
        "OUTGOING": slots(lambda plan: plan.outgoing),
        "INCOMING": slots(lambda plan: plan.incoming),
        "POINT_ID": point.id,
        "PACKET_ARGUMENT": max(point.packet, 0),
        "PACKET_PLACE": _SPLICE["PLACE_RX" if point.stage == "receive" else "PLACE_TX"],
        "TASK_EVENTS": sum(bit for name, bit in _TASK_EVENTS.items() if name in captured),
        "SAMPLED": slots(lambda plan: plan.sample < _ALL or plan.budgeted),
        "LIMITED": slots(lambda plan: plan.limit),
        "BY_FLOW": slots(lambda plan: plan.by_flow),
    }
