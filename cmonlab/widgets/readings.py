"""What the strip says: the network's figures, and apart from them the monitor's."""

from __future__ import annotations

from cmonlab.schema.format import count, digits, percent

from .model import Live
from .strip import Item


def readings(model: Live, *, paused: bool, skipped: int, missed: int, here: bool) -> list[tuple[str, list[Item]]]:
    """Return the groups of the strip.

    Parameters
    ----------
    model : Live
    paused : bool
        Whether the view stands still.
    skipped, missed : int
        Frames that were left out for a slow browser, and messages for a slow kernel.
    here : bool
        Whether the agent runs in this process.
    """
    return [
        ("network", _network(model)),
        ("monitor", _monitor(model, here)),
        ("view", _view(model, paused, skipped, missed)),
    ]


def _network(model: Live) -> list[Item]:
    rates = model.rates()
    dropped = rates["dropped"]
    return [
        ("packets/s", digits(rates["packets"]), "", "packets that the shown rule took, each counted once"),
        ("throughput", f"{digits(rates['bytes'] * 8 / 1e6)} Mbit/s", "", "IP bytes of these packets"),
        ("dropped/s", digits(dropped), "warning" if dropped else "", "packets that the network dropped: packet loss"),
    ]


def _monitor(model: Live, here: bool) -> list[Item]:
    told, status = model.told, model.told.status
    if not status:
        return [("agent", "asking …", "", "")]
    lost = told.lost_events + told.overflowed
    cost = "–" if told.cost is None else percent(told.cost["share"])
    each = "" if told.cost is None else f"; {told.cost['packet_ns']:,.0f} ns a packet at all points together"
    process = "this process, dashboard and all" if here else "the agent's process"
    return [
        ("events/s", digits(told.events_per_s), "", "records a second; rules of mode aggregate make none"),
        ("hops/s", digits(model.rates()["hops"]), "", "hops that were counted in the kernel"),
        (
            "lost events",
            count(lost),
            "warning" if lost else "",
            "the monitor's own loss, never the network's: lost events, and packets for which aggregates had no room",
        ),
        ("tracing overhead", cost, "", f"the programs' share of the kernel's time, measured with bpf_stats{each}"),
        (
            "CPU",
            percent(told.cpu_share),
            "",
            f"share of one processor that {process}, takes" if here else f"share of one processor that {process} takes",
        ),
        ("memory", f"{status['resident_bytes'] / 2**20:,.0f} MiB", "", f"resident memory of {process}"),
        ("clock error", "0 (one clock)", "", "every time was taken by one kernel's clock"),
    ]


def _view(model: Live, paused: bool, skipped: int, missed: int) -> list[Item]:
    troubles = model.told.troubles
    if "status" in troubles:
        state = ("agent", "gone", "warning", troubles["status"])
    elif "windows" in troubles:
        state = ("agent", "no windows", "warning", troubles["windows"])
    elif paused:
        state = ("view", "paused", "", "what comes meanwhile is kept")
    elif model.idle_s > 3:
        state = ("view", "no packets", "", "no packet of the shown rule came in the last seconds")
    else:
        state = ("view", "live", "", "")
    left = [("frames skipped", count(skipped), "", "the browser was busy")] if skipped else []
    left += [("windows missed", count(missed), "warning", "they came faster than they were taken")] if missed else []
    return [state, *left]
