"""What a packet costs on a host with many containers, beside one with two."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from cmonlab.analysis.stats import interleave, ratios
from cmonlab.calibrate.testbed import ip
from cmonlab.kernel import bpf
from cmonlab.rules import Rule

from . import manyping
from .kernelcost import plans_of
from .programs import Programs
from .targets import Outcome, judge
from .traffic import PORT, until

FEW, MANY, QUICK_MANY = 2, 200, 40
GOAL = 1.1
TRIPS = 12_000  # a sample: about a second, after which cells are new in a recording, too
MODES = ("floor", "capture", "aggregate")
POINTS = ("net_dev_queue", "net_dev_start_xmit", "netif_rx", "netif_receive_skb")


@contextmanager
def namespaces(count: int) -> Iterator[str]:
    """Make so many namespaces on one bridge, which is in one of its own; yields their names' prefix."""
    prefix = f"cmonlab-test-{os.getpid()}-many{count}"
    names = [f"{prefix}-host", *(f"{prefix}-{number}" for number in range(count))]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("-n", names[0], "link", "add", "br0", "type", "bridge")
        ip("-n", names[0], "link", "set", "br0", "up")
        for number, name in enumerate(names[1:]):
            peer = ("peer", "name", "eth0", "netns", name)
            ip("-n", names[0], "link", "add", f"veth{number}", "type", "veth", *peer)
            ip("-n", names[0], "link", "set", f"veth{number}", "master", "br0", "up")
            ip("-n", name, "addr", "add", f"{manyping.address(number)}/16", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield prefix
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@contextmanager
def messages(prefix: str, count: int) -> Iterator[None]:
    """Let each pair of the namespaces exchange messages in turn."""
    words = [sys.executable, "-S", manyping.__file__, prefix, str(count // 2), str(PORT)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def packet_cost(programs: Programs, prefix: str, count: int, mode: str) -> float:
    """Return nanoseconds that all programs together take for a packet on its way from one namespace to another.

    Raises
    ------
    RuntimeError
        There is not one program for each point.
    """
    with messages(prefix, count), _programs(programs, mode) as loaded:
        # Of a packet's way the first and the last device are containers': it is queued twice.
        packets = lambda: bpf.program_stats(loaded["net_dev_queue"])[1] / 2  # noqa: E731
        until(lambda: packets() > 4 * count, "each pair's first messages", 30.0)  # addresses resolved
        before = {name: bpf.program_stats(program)[:2] for name, program in loaded.items()}
        until(lambda: packets() - before["net_dev_queue"][1] / 2 >= 2 * TRIPS, "messages to flow", 30.0)
        after = {name: bpf.program_stats(program)[:2] for name, program in loaded.items()}
    spent_ns = sum(after[name][0] - before[name][0] for name in loaded)
    return spent_ns / (after["net_dev_queue"][1] - before["net_dev_queue"][1]) * 2


@contextmanager
def _programs(programs: Programs, mode: str) -> Iterator[dict[str, int]]:
    """Have programs at all points; yields their fds by point."""
    if mode == "floor":
        with programs.attached("least_record", POINTS) as loaded:
            yield loaded
        return
    plans = plans_of([Rule(name=mode, match=f"udp port {PORT}", mode=mode, points=list(POINTS))])
    with programs.active(plans) as active:
        loaded = {point.name: program for point, program in active.programs.items()}
        if sorted(loaded) != sorted(POINTS):
            raise RuntimeError(f"programs at {', '.join(loaded)}, and not one at each of {', '.join(POINTS)}")
        yield loaded


def run(rounds: int, budget_s: float, quick: bool) -> Outcome:
    """Compare the cost of a packet with few and with many namespaces, in each mode."""
    outcome, many = Outcome(), QUICK_MANY if quick else MANY
    with ExitStack() as stack:
        prefixes = {count: stack.enter_context(namespaces(count)) for count in (FEW, many)}
        programs = stack.enter_context(Programs())
        calls = {
            f"{mode}, {count} namespaces": partial(packet_cost, programs, prefixes[count], count, mode)
            for mode in MODES
            for count in (FEW, many)
        }
        found = interleave(calls, rounds, budget_s, least=min(rounds, 10))
    outcome.samples = {f"scaling {name} ns a packet": values for name, values in found.items()}
    for mode in MODES:
        compared = ratios(found[f"{mode}, {many} namespaces"], found[f"{mode}, {FEW} namespaces"])
        name = f"scaling: a packet with {many} namespaces / with {FEW}, {mode}"
        if mode == "floor":  # what of it is caches that are colder for every program
            outcome.samples[name] = compared
        else:
            outcome.targets.append(judge(name, "at most", GOAL, compared))
    outcome.notes.append(f"scaling: one program at each of {len(POINTS)} points, with {FEW} and with {many} namespaces")
    return outcome
