"""Rules at another level, and what they would cost then."""

from __future__ import annotations

from collections.abc import Sequence

from cmonlab.points.catalogue import BY_NAME, groups
from cmonlab.rules import Plan, Rule
from cmonlab.rules.budget import COST_NS, Level

from .cost import Cost

_COUNTED = ("path", "drops")  # groups that replace `default` when a rule falls back to mode count
_KNOWN = {*BY_NAME, *groups(), "all"}


def in_mode(rule: Rule, mode: str) -> Rule:
    """Return a rule in a mode that reports less of the same packets.

    Parameters
    ----------
    rule : Rule
        The rule as the user wrote it.
    mode : str
        ``"capture"``, ``"aggregate"`` or ``"count"``.

    Returns
    -------
    Rule
        Without custom probes unless `mode` is the rule's own.
    """
    if mode == rule.mode:
        return rule
    default = _COUNTED if mode == "count" else ("default",)
    known = [word for given in rule.points if given in _KNOWN for word in (default if given == "default" else (given,))]
    return rule.model_copy(
        update={
            "mode": mode,
            "limit": None,
            "by": rule.by if mode == "aggregate" else None,
            "points": tuple(known) or default,
        }
    )


def predicted_ns(
    cost: Cost, plan: Plan, slot: int, now: Level, then: Level, points: Sequence[str], others: set[str]
) -> float:
    """Predict the cost of a hop if a rule had another level and the packets stayed the same.

    The cost model (`cmonlab.rules.budget.COST_NS`) is scaled so that it agrees with the measured cost.

    Parameters
    ----------
    cost : Cost
        What was measured at the rule's current level.
    plan : Plan
        The rule as it is active now.
    slot : int
        The rule's slot.
    now, then : Level
        The current level and the other one.
    points : sequence of str
        The rule's points at the other level.
    others : set of str
        Points of other rules.

    Returns
    -------
    float
        CPU time in ns per packet and point.
    """
    light, before, after = COST_NS["count"], COST_NS[now.mode], COST_NS[then.mode]
    total, here = 0.0, 0.0
    for name, run_ns in cost.run_ns.items():
        if name not in plan.points:
            total += run_ns
            continue
        here += run_ns
        if name not in points and name not in others:
            continue
        model = COST_NS["unmatched"] * cost.unmatched.get(name, 0) + light * cost.light.get(name, 0)
        model += before * cost.taken.get(name, 0)
        rest = light + then.sample * (after - light) if name in points else COST_NS["unmatched"]
        added = cost.matched.get((slot, name), 0) * (rest - light - now.sample * (before - light))
        total += run_ns * max(0.0, 1 + added / model) if model else run_ns
    fresh = set(points) - cost.run_ns.keys()
    return (total + here / max(1, len(plan.points)) * len(fresh)) / cost.hops
