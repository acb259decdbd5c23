"""What a hop costs in the kernel: nanoseconds a run, beside a floor program in the same traffic."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cmonlab.kernel import bpf, pcapfilter
from cmonlab.kernel.loader import SOURCES, Module
from cmonlab.kernel.points import BY_NAME, CATALOGUE
from cmonlab.kernel.ringbuf import RingBuffer
from cmonlab.kernel.tracer import RING_BYTES, macros, possible_cpus
from tests.kernel.netlab import netlab

from .stats import Outcome, interleave, judge, ratios
from .traffic import PORT, ping_pong, until

#: Where the packets of small-message traffic pass, and the protocols that pass there.
CASES = {
    "udp": ("net_dev_queue", "netif_rx", "netif_receive_skb"),
    "tcp": ("net_dev_queue", "netif_receive_skb", "skb_copy_datagram_iovec"),
}
OTHER_RULE = "tcp port 40009"  # nobody uses it
GOAL = 1.5
RUNS = 2500
ATTEMPTS = 8
EVENTS_PAGES = 2048


class Programs:
    """Programs of several modules that share one set of rings; attached one at a time.

    A context manager; leaving it unloads everything.
    """

    def __init__(self):
        self._cpus = possible_cpus()
        self._modules: list[Module] = []
        self._rings: list[RingBuffer] = []
        self._stats = bpf.enable_run_time_stats()

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_exc) -> None:
        for module in self._modules:
            module.close()
        for ring in self._rings:
            ring.close()
        os.close(self._stats)

    def compile(self, source: Path, rule: str = "") -> Module:
        """Compile a file of ``bpf/`` with a rule, its records into the shared rings."""
        defined = macros(CATALOGUE, self._cpus) | {"EVENTS_PAGES": EVENTS_PAGES}
        module = Module(source, defined, {"rule.h": pcapfilter.to_c(pcapfilter.compile_expression(rule))})
        self._modules.append(module)
        if not self._rings:
            self._rings = [RingBuffer(RING_BYTES, module.layout("layout")) for _ in range(self._cpus)]
        for cpu, ring in enumerate(self._rings):
            bpf.update_fd(module.map_fd("rings"), cpu, ring.fd)
        return module

    def sample(self, module: Module, function: str, tracepoint: str, runs: int) -> float:
        """Load a program, attach it for at least so many runs; return nanoseconds a run.

        Loaded anew each time: how fast a program runs also depends on where the kernel
        happens to place its code.
        """
        program = module.load(function, tracepoint)
        try:
            link = bpf.attach_tracing(program)
            try:
                until(lambda: bpf.program_stats(program)[1] >= runs, "packets at the tracepoint", 20.0)
            finally:
                os.close(link)
            for ring in self._rings:
                ring.read()
            time_ns, count, _ = bpf.program_stats(program)
            return time_ns / count
        finally:
            module.unload(program)


def counted(module: Module, point: str, column: str) -> int:
    """Return a counter of a point, summed over the CPUs."""
    return sum(int(getattr(cpu, column)) for cpu in module.table("counters")[BY_NAME[point].id])


def point_cost(programs: Programs, module: Module, point: str, end: str, runs: int) -> float:
    """Return nanoseconds a run of cmonlab's program at a point.

    Parameters
    ----------
    end : {"recorded", "unmatched"}
        What must become of nine of ten packets, else the sample is taken again.

    Raises
    ------
    RuntimeError
        Other traffic of the machine, or lost events, disturb every attempt.
    """
    for _ in range(ATTEMPTS):
        before = [counted(module, point, column) for column in ("seen", end)]
        cost_ns = programs.sample(module, f"on_{point}", point, runs)
        seen, wanted = (counted(module, point, column) - was for column, was in zip(("seen", end), before, strict=True))
        if wanted >= 0.9 * seen:
            return cost_ns
    raise RuntimeError(f"at {point} only {wanted} of {seen} packets were {end}: other traffic disturbs")


def run(rounds: int, budget_s: float, quick: bool = False) -> Outcome:
    """Measure empty, floor, recorded and unmatched at each point under each traffic."""
    outcome, cases = Outcome(), sum(map(len, CASES.values()))
    runs = RUNS // 4 if quick else RUNS
    with netlab() as lab, Programs() as programs:
        bench = programs.compile(SOURCES / "bench.c")
        other = programs.compile(SOURCES / "points.c", OTHER_RULE)
        for protocol, points in CASES.items():
            own = programs.compile(SOURCES / "points.c", f"{protocol} port {PORT}")
            with ping_pong(lab, protocol):
                for point in points:
                    calls = variants(programs, bench, {"recorded": own, "unmatched": other}, point, runs)
                    found = interleave(calls, rounds, budget_s / cases, least=min(rounds, 10))
                    outcome.merge(_judged(protocol, point, found))
                if protocol == "tcp":
                    outcome.merge(_switches(programs, bench, own, runs, rounds))
    return outcome


def _switches(programs: Programs, bench: Module, own: Module, runs: int, rounds: int) -> Outcome:
    """Measure the program at the scheduler's switches, which records nothing as a rule."""
    functions = {"empty": (bench, "empty"), "own": (own, "on_sched_switch")}
    calls = {
        name: partial(programs.sample, module, function, "sched_switch", runs)
        for name, (module, function) in functions.items()
    }
    return Outcome({f"kernel sched_switch {name} ns": values for name, values in interleave(calls, rounds).items()})


def variants(
    programs: Programs, bench: Module, ends: dict[str, Module], point: str, runs: int
) -> dict[str, Callable[[], float]]:
    """Return what to measure at a point by name."""
    calls: dict[str, Callable[[], float]] = {}
    for name, function in (("empty", "empty"), ("floor", "least_record")):
        calls[name] = partial(programs.sample, bench, function, point, runs)
    for end, module in ends.items():
        calls[end] = partial(point_cost, programs, module, point, end, runs)
    return calls


def _judged(protocol: str, point: str, found: dict[str, list[float]]) -> Outcome:
    where = f"{protocol} {point}"
    samples = {f"kernel {where} {name} ns": values for name, values in found.items()}
    recorded = judge(f"kernel: recorded / floor, {where}", "at most", GOAL, ratios(found["recorded"], found["floor"]))
    unmatched = judge(
        f"kernel: unmatched / empty, {where}", "at most", GOAL, ratios(found["unmatched"], found["empty"])
    )
    return Outcome(samples, [recorded, unmatched])
