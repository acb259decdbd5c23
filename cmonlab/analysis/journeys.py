"""Journeys as a table: one row a packet, with where it went and how it ended."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..engine.correlate import Journeys, Stages, payload_bytes
from ..engine.order import Columns
from .category import labelled, relabelled
from .names import Names, protocol


def table(events: Columns, found: Journeys, names: Names, stages: Stages, reasons: Mapping[int, str]) -> pd.DataFrame:
    """Return one row a journey; columns of ``schema.TABLES["journeys"]``.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    found : Journeys
        From `engine.correlate`.
    names : Names
        Of this recording.
    stages : Stages
        What each point means.
    reasons : mapping of int to str
        Drop reasons by their number in the events.
    """
    first, last = found.first, found.last
    stage = _stage(events["point"][last], stages)
    ended_at_home = _ended_at_home(events, found, names, stage)
    complete = ended_at_home & _began_at_home(events, found, names, stages)
    outcome = np.where(stage == "drop", "dropped", np.where(np.isin(stage, ["deliver", "read"]), "delivered", np.where(ended_at_home, "arrived", "unfinished")))
    dropped = np.where(stage == "drop", events["detail"][last].astype(np.int32), -1)
    src, dst, direction = endpoints(events, first, np.where(stage == "read", found.event[found.start[1:] - 2], last), names)
    ts = events["ts_ns"]
    return pd.DataFrame({
        "journey": np.arange(len(found), dtype=np.int64),
        "start_ns": ts[first],
        "one_way_delay_ns": ts[last] - ts[first],
        "src": src,
        "dst": dst,
        "direction": direction,
        "proto": labelled(events["proto"][first], protocol),
        **{name: events[name][first] for name in ("sport", "dport", "seq", "tcp_flags", "len_bytes")},
        "payload_bytes": payload_bytes(events, first).astype(np.uint32),
        "gso_segs": events["detail"][first],
        "hops": found.length.astype(np.uint16),
        "path": paths(found, names),
        "outcome": pd.Categorical(outcome, ["delivered", "arrived", "dropped", "unfinished"]),
        "complete": complete,
        "drop_reason": labelled(dropped, lambda number: reasons.get(number, f"reason {number}") if number >= 0 else ""),
    }, copy=False)  # fmt: skip


def _stage(point: np.ndarray, stages: Stages) -> np.ndarray:
    by_id = np.full(256, "", "U8")
    for name, ids in vars(stages).items():
        by_id[list(ids)] = name
    return by_id[point]


def _owns(names: Names, netns: np.ndarray, address: np.ndarray) -> np.ndarray:
    """Tell whether the namespace has the address; True where nobody is known to have it."""
    known = np.unique(names.local & np.uint64(0xFFFFFFFF))
    word = netns.astype(np.uint64) << np.uint64(32) | address
    return np.isin(word, names.local) | ~np.isin(address.astype(np.uint64), known)


def _began_at_home(events: Columns, found: Journeys, names: Names, stages: Stages) -> np.ndarray:
    first = found.first
    sent = np.isin(events["point"][first], list(stages.transmit))
    return sent & _owns(names, events["netns"][first], events["saddr"][first])


def _ended_at_home(events: Columns, found: Journeys, names: Names, stage: np.ndarray) -> np.ndarray:
    last = found.event[found.start[1:] - 1 - (stage == "read")]  # a read knows no address
    received = np.isin(stage, ["receive", "deliver", "read"])
    return received & _owns(names, events["netns"][last], events["daddr"][last])


def endpoints(
    events: Columns, first: np.ndarray, last: np.ndarray, names: Names
) -> tuple[pd.Categorical, pd.Categorical, pd.Categorical]:
    """Return source, destination and direction; NAT on the way is seen through."""
    ipv6 = (events["shape"] & 1).astype(np.uint64) << np.uint64(32)

    def side(address: np.ndarray, at: np.ndarray) -> pd.Categorical:
        return labelled(address[at] | ipv6[at], lambda key: names.endpoint(key & 0xFFFFFFFF, bool(key >> 32)))

    src, dst = side(events["saddr"], first), side(events["daddr"], last)
    width = len(dst.categories) or 1
    direction = labelled(
        src.codes.astype(np.int64) * width + dst.codes,
        lambda pair: f"{src.categories[pair // width]} → {dst.categories[pair % width]}",
    )
    return src, dst, direction


def paths(found: Journeys, names: Names) -> pd.Categorical:
    """Return the interfaces that each journey passed, bridges included."""
    if len(found) == 0:
        return pd.Categorical([])
    code = found.hops.code[found.event].astype(np.uint64) + np.uint64(1)
    position = np.arange(len(found.event)) - np.repeat(found.start[:-1], found.length)
    mixed = code * (np.uint64(0x9E3779B97F4A7C15) + np.uint64(2) * position.astype(np.uint64))
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    number, distinct = pd.factorize(np.add.reduceat(mixed, found.start[:-1]))
    example = np.empty(len(distinct), np.int64)
    example[number[::-1]] = np.arange(len(number))[::-1]
    return relabelled(number, [_path(found, int(j), names) for j in example])


def _path(found: Journeys, journey: int, names: Names) -> str:
    hops, steps, before = found.hops, [], (0, 0)
    for code in found.hops.code[found.event[found.start[journey] : found.start[journey + 1]]]:
        netns, ifindex = int(hops.netns[code]), int(hops.ifindex[code])
        if not ifindex or (netns, ifindex) == before:
            continue
        bridge = names.bridge(netns, ifindex)
        if steps and before[0] == netns and bridge and bridge == names.bridge(*before):
            steps.append(names.place(netns, bridge).split(":", 1)[-1])
        steps.append(names.place(netns, ifindex))
        before = (netns, ifindex)
    return " → ".join(steps)
