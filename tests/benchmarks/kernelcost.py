"""Cost of a hop in the kernel: nanoseconds per run, compared with an empty and a floor program in the same traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from cmonlab.data.analysis.stats import interleave, ratios
from cmonlab.rules import Rule
from cmonlab.rules.plan import Plan, compile_rules
from cmonlab.study.testbed.testbed import testbed
from cmonlab.tracing.kernel import programs as kernel
from cmonlab.tracing.kernel.addresses import address_key

from .outcome import Outcome
from .programs import Programs
from .targets import GOALS
from .traffic import CLIENT, PORT, SERVER, ping_pong

#: Points that the packets of small-message traffic pass, with the protocols there.
CASES = {
    "udp": ("net_dev_queue", "netif_rx", "netif_receive_skb"),
    "tcp": ("net_dev_queue", "netif_rx", "netif_receive_skb", "sock_recv_length"),
}
#: Fate of a packet → the ledger's column, and the program to compare with.
ENDS = {
    "unmatched": ("unmatched", "empty"),
    "count": ("counted", "empty"),
    "aggregate": ("aggregated", "floor"),
    "capture": ("recorded", "floor"),
}
#: The case in which variants of rules are compared, without targets.
VARIED = ("udp", "netif_receive_skb")
OTHER_PORT = 40009  # unused
OTHER_RULE = f"tcp port {OTHER_PORT}"
RUNS = 2500


def plans_of(rules: Sequence[Rule]) -> list[Plan]:
    """Return standard rules for this kernel."""
    return compile_rules(rules, [point.name for point in kernel.available()])


def run(rounds: int, budget_s: float, quick: bool = False) -> Outcome:
    """Measure each fate of a packet at each point with each traffic, and variants of rules at one point."""
    outcome, share_s = Outcome(), budget_s / (sum(map(len, CASES.values())) + 1)
    runs = RUNS // 4 if quick else RUNS
    with testbed() as lab, Programs() as programs:
        for protocol, points in CASES.items():
            with ping_pong(lab, protocol):
                for point in points:
                    calls = _beside(programs, point, runs) | _ends(programs, protocol, point, runs)
                    outcome.merge(_judged(protocol, point, interleave(calls, rounds, share_s, min(rounds, 10))))
                if protocol == VARIED[0] and not quick:
                    calls = _beside(programs, VARIED[1], runs) | _variants(programs, runs)
                    outcome.merge(_outcome_of(interleave(calls, rounds, share_s, min(rounds, 10))))
    return outcome


def _beside(programs: Programs, point: str, runs: int) -> dict[str, Callable[[], float]]:
    """Return the programs that the others are compared with."""
    functions = {"empty": "empty", "floor": "least_record"}
    return {name: partial(programs.bench, function, point, runs) for name, function in functions.items()}


def _ends(programs: Programs, protocol: str, point: str, runs: int) -> dict[str, Callable[[], float]]:
    own, calls = f"{protocol} port {PORT}", {}
    for name, (fate, _) in ENDS.items():
        match, mode = (OTHER_RULE, "capture") if name == "unmatched" else (own, name)
        plans = plans_of([Rule(name=name, match=match, mode=mode, points=[point])])
        calls[name] = partial(programs.rules, plans, {}, point, runs, fate)
    return calls


def _variants(programs: Programs, runs: int) -> dict[str, Callable[[], float]]:
    """Return more complex rules: several rules, a sample, chosen containers."""
    protocol, point = VARIED
    own = Rule(name="own", match=f"{protocol} port {PORT}", points=[point])
    others = [
        Rule(name=f"other-{n}", match=f"{protocol} port {OTHER_PORT + n}", points=[point]) for n in range(kernel.RULES)
    ]
    chosen = Rule(name="chosen", match={"packets": own.match.packets, "containers": {"name": "*"}}, points=[point])
    members = {"chosen": [address_key(SERVER), address_key(CLIENT)]}
    found: dict[str, tuple[list[Rule], Mapping[str, Sequence[int]], str]] = {
        "capture": ([own], {}, "recorded"),
        "aggregate by flow": ([own.model_copy(update={"mode": "aggregate", "by": "flow"})], {}, "aggregated"),
        "capture, 1% sampled": ([own.model_copy(update={"sample": 0.01})], {}, "sampled_out"),
        "capture, containers selected": ([chosen], members, "recorded"),
    }
    for n in (4, 16):
        found[f"capture, {n} rules, one matches"] = ([own, *others[1:n]], {}, "recorded")
        found[f"unmatched, {n} rules"] = (others[:n], {}, "unmatched")
    return {
        name: partial(programs.rules, plans_of(rules), members, point, runs, fate)
        for name, (rules, members, fate) in found.items()
    }


def _judged(protocol: str, point: str, found: dict[str, list[float]]) -> Outcome:
    where, outcome = f"{protocol} {point}", Outcome()
    for name, values in found.items():
        outcome.add("kernel", f"run time, {where}", name, "ns", values)
    for name, (_, reference) in ENDS.items():
        compared = ratios(found[name], found[reference])
        outcome.add("kernel", f"run time / {reference}", f"{name}, {where}", "", compared)
        if name in GOALS:
            outcome.judge(name, compared, where)
    return outcome


def _outcome_of(found: dict[str, list[float]]) -> Outcome:
    where, outcome = "rules, " + " ".join(VARIED), Outcome()
    for name, values in found.items():
        outcome.add("kernel", f"run time of {where}", name, "ns", values)
        reference = "empty" if name.startswith("unmatched") else "floor"
        if name not in ("empty", "floor"):
            outcome.add("kernel", f"run time / {reference}, {where}", name, "", ratios(values, found[reference]))
    return outcome
