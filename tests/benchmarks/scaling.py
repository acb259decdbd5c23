"""Cost of a packet by number of containers, flows and points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from cmonlab.data.analysis.stats import interleave, ratios
from cmonlab.rules import Rule
from cmonlab.study.testbed.testbed import testbed

from . import many
from .flows import DESTINATION, datagrams
from .outcome import Outcome
from .packetcost import POINTS, TRIPS, Cost, floor_cost, rule_cost
from .programs import Programs
from .traffic import PORT, ping_pong

FEW, MANY = 2, 200
CONTAINERS, QUICK_CONTAINERS = (FEW, 20, MANY, 500), (FEW, MANY)
FLOWS, QUICK_FLOWS = (10, 100, 1000, 10_000, 100_000), (10, 10_000)
POINT_SETS = {1: ["net_dev_queue"], 4: list(POINTS), "all": ["all"]}
MODES = ("floor", "capture", "aggregate")


class Costs:
    """Costs by variant, with all data of the samples."""

    def __init__(self):
        self.samples: dict[str, list[Cost]] = {}

    def call(self, name: str, measure: Callable[[], Cost]) -> Callable[[], float]:
        """Return a function that measures the run time of a variant, in nanoseconds per packet."""

        def measured() -> float:
            cost = measure()
            self.samples.setdefault(name, []).append(cost)
            return cost.ns

        return measured


def _rule(mode: str, match: str, points: Sequence[str] = POINTS, **fields) -> Rule:
    return Rule(name=mode, match=match, mode=mode, points=list(points), **fields)


def containers(rounds: int, budget_s: float, quick: bool) -> Outcome:
    """Compare the cost of a packet with few and with many namespaces, in each mode."""
    outcome, counts, costs = Outcome(), QUICK_CONTAINERS if quick else CONTAINERS, Costs()
    with ExitStack() as stack:
        prefixes = {count: stack.enter_context(many.namespaces(count)) for count in counts}
        programs = stack.enter_context(Programs())

        def cost(mode: str, count: int) -> Cost:
            with many.messages(prefixes[count], count):
                if mode == "floor":
                    return floor_cost(programs, count)
                return rule_cost(programs, _rule(mode, f"udp port {PORT}"), count)

        names = {f"{mode}, {count}": (mode, count) for mode in MODES for count in counts}
        calls = {name: costs.call(name, partial(cost, *of)) for name, of in names.items()}
        found = interleave(calls, rounds, budget_s, least=min(rounds, 5))
    for name, (mode, count) in names.items():
        outcome.add("containers", "run time a packet, namespaces", mode, "ns", found[name], count)
    for mode in MODES:
        compared = ratios(found[f"{mode}, {MANY}"], found[f"{mode}, {FEW}"])
        if mode == "floor":  # shows the share of colder caches, which affect every program
            outcome.add("containers", f"run time a packet, {MANY} namespaces / {FEW}", mode, "", compared)
        else:
            outcome.judge("containers", compared, mode)
            outcome.judge("programs", [cost.programs for cost in costs.samples[f"{mode}, {MANY}"]], mode)
    return outcome


def flows(rounds: int, budget_s: float, quick: bool) -> Outcome:
    """Compare the cost of a packet with few and with many flows, recorded and aggregated by flow."""
    outcome, counts, costs = Outcome(), QUICK_FLOWS if quick else FLOWS, Costs()
    modes = {"floor": None, "capture": {}, "aggregate": {"by": "flow"}}
    with testbed() as lab, Programs() as programs:

        def cost(mode: str, count: int) -> Cost:
            with datagrams(lab, count):
                packets = max(TRIPS, 3 * count // 2)
                if modes[mode] is None:
                    return floor_cost(programs, count, packets)
                return rule_cost(programs, _rule(mode, f"udp and host {DESTINATION}", **modes[mode]), count, packets)

        names = {f"{mode}, {count}": (mode, count) for mode in modes for count in counts}
        calls = {name: costs.call(name, partial(cost, *of)) for name, of in names.items()}
        found = interleave(calls, rounds, budget_s, least=min(rounds, 3))
    for name, (mode, count) in names.items():
        outcome.add("flows", "run time a packet, flows", mode, "ns", found[name], count)
        if mode == "aggregate":
            overflowed = [100 * cost.overflowed for cost in costs.samples[name]]
            outcome.add("flows", "hops without room in the aggregate, flows", mode, "%", overflowed, count)
    return outcome


def points(rounds: int, budget_s: float, _quick: bool) -> Outcome:
    """Compare the cost of a packet at one point, at four, and at all."""
    outcome, costs = Outcome(), Costs()
    with testbed() as lab, Programs() as programs, ping_pong(lab, "udp"):
        match = f"udp port {PORT}"
        names = {f"{mode}, {size}": (mode, size) for mode in MODES[1:] for size in POINT_SETS}
        calls = {
            name: costs.call(name, partial(rule_cost, programs, _rule(mode, match, POINT_SETS[size]), 100, TRIPS // 2))
            for name, (mode, size) in names.items()
        }
        found = interleave(calls, rounds, budget_s, least=min(rounds, 5))
    for name, (mode, size) in names.items():
        outcome.add("points", "run time a packet", f"{mode}, points: {size}", "ns", found[name])
    return outcome
