"""The items of the status bar: the network's rates and, apart from them, the tracing's own state."""

from __future__ import annotations

from cmonlab.schema.format import count, digits, percent

from .model import Live
from .status_bar import Item


def status_items(
    model: Live, *, paused: bool, skipped: int, missed: int, in_process: bool
) -> list[tuple[str, list[Item]]]:
    """Return the groups of the status bar, each with a title and its items.

    Parameters
    ----------
    model : Live
        What was measured.
    paused : bool
        Whether the view is paused.
    skipped : int
        Frames that were skipped because the browser was busy.
    missed : int
        Messages with windows that were dropped because this process was busy.
    in_process : bool
        Whether the agent runs in this process.
    """
    return [
        ("network", _network(model)),
        ("monitor", _monitor(model, in_process)),
        ("view", _view(model, paused, skipped, missed)),
    ]


def _network(model: Live) -> list[Item]:
    rates = model.rates()
    dropped = rates["dropped"]
    return [
        ("packets/s", digits(rates["packets"]), "", "packets that match the shown rule, each counted once"),
        ("throughput", f"{digits(rates['bytes'] * 8 / 1e6)} Mbit/s", "", "IP bytes of these packets"),
        ("dropped/s", digits(dropped), "warning" if dropped else "", "packets that the network dropped: packet loss"),
    ]


def _monitor(model: Live, in_process: bool) -> list[Item]:
    agent, status = model.agent_status, model.agent_status.status
    if not status:
        return [("agent", "asking …", "", "")]
    lost = agent.lost_events + agent.overflowed
    cost = "–" if agent.cost is None else percent(agent.cost["share"])
    per_packet = "" if agent.cost is None else f"; {agent.cost['packet_ns']:,.0f} ns per packet at all points together"
    process = "this process, which also runs the dashboard" if in_process else "the agent's process"
    return [
        ("events/s", digits(agent.events_per_s), "", "events read per second; rules of mode aggregate make none"),
        ("hops/s", digits(model.rates()["hops"]), "", "hops that were counted in the kernel"),
        (
            "lost events",
            count(lost),
            "warning" if lost else "",
            "loss of the tracing, never of the network: lost events, and packets that aggregates had no room for",
        ),
        (
            "tracing overhead",
            cost,
            "",
            f"the programs' share of the kernel's CPU time, measured with bpf_stats{per_packet}",
        ),
        ("CPU", percent(agent.cpu_share), "", f"CPU time as a share of one CPU, of {process}"),
        ("memory", f"{status['resident_bytes'] / 2**20:,.0f} MiB", "", f"resident memory of {process}"),
        ("clock error", "0 (one clock)", "", "one kernel's clock took all times"),
    ]


def _view(model: Live, paused: bool, skipped: int, missed: int) -> list[Item]:
    problems = model.agent_status.problems
    if "status" in problems:
        state = ("agent", "gone", "warning", problems["status"])
    elif "windows" in problems:
        state = ("agent", "no windows", "warning", problems["windows"])
    elif paused:
        state = ("view", "paused", "", "data that arrives meanwhile is kept")
    elif model.idle_s > 3:
        state = ("view", "no packets", "", "no packet matched the shown rule in the last seconds")
    else:
        state = ("view", "live", "", "")
    losses = [("frames skipped", count(skipped), "", "the browser was busy")] if skipped else []
    losses += (
        [("windows missed", count(missed), "warning", "they arrived faster than they were read")] if missed else []
    )
    return [state, *losses]
