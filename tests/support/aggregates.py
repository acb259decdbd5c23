"""Aggregates of events, computed as in the kernel but event by event."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from cmonlab.data.store import cells
from cmonlab.points.records import SHAPE_IPV6
from tests.support.events import DROP, RECEIVE, STAGES

HOP, SEGMENT, TOTAL, DROPPED, RETRANSMIT, RTT = range(6)
FIELDS = list(cells.DTYPES)
KEY, SUMS = FIELDS[2:-3], FIELDS[-3:]
DTYPE = np.dtype([(name, cells.DTYPES[name]) for name in FIELDS[2:]])
#: Ports of bridges forward a packet, so its path does not end there.
PORTS = (3, 4)


def bucket_of(time_ns: int) -> int:
    """Return the bucket of a time."""
    if time_ns < 64:
        return time_ns
    shift = time_ns.bit_length() - 6
    return (shift << 5) + (time_ns >> shift)


def aggregate(events, *, window_ns: int, by_flow: bool = False, rule: int = 0) -> list[tuple[int, int, np.ndarray]]:
    """Return the windows of cells of a rule that aggregates all of these events."""
    windows: dict[int, dict] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    passages: dict[int, tuple] = {}
    origin = int(events["ts_ns"][0])
    stages = STAGES.transmit | STAGES.receive | STAGES.drop
    for at in np.flatnonzero(np.isin(events["point"], list(stages))):
        event = {name: int(values[at]) for name, values in events.items()}
        now, point = event["ts_ns"], event["point"]
        into = windows[(now - origin) // window_ns]
        base = {name: event[name] for name in ("saddr", "daddr", "netns", "ifindex", "proto", "point")}
        base |= {"rule": rule, "shape": event["shape"] & SHAPE_IPV6}
        base |= {name: event[name] if by_flow else 0 for name in ("sport", "dport")}

        def add(took, into=into, base=base, size=event["len_bytes"], **changes):
            cell = into[tuple((base | {"from": 0, "bucket": bucket_of(took)} | changes)[name] for name in KEY)]
            for number, amount in enumerate((1, size, took)):
                cell[number] += amount

        tag = (event["seq"], event["ident"], event["proto"])
        known = passages.get(event["skb"])
        if point == DROP:
            passages.pop(event["skb"], None)
            add(0, kind=DROPPED, bucket=event["detail"])
        elif known and known[0] == tag:
            add(now - known[2], kind=SEGMENT, **{"from": known[3]})
            passages[event["skb"]] = (tag, known[1], now, point)
            if point == RECEIVE and event["ifindex"] not in PORTS:
                add(now - known[1], kind=TOTAL)
        else:
            add(0, kind=HOP)
            passages[event["skb"]] = (tag, now, now, point)
    return [window(origin + number * window_ns, window_ns, into) for number, into in sorted(windows.items())]


def window(start_ns: int, window_ns: int, into: dict) -> tuple[int, int, np.ndarray]:
    """Return one window in the form in which a tracer returns it."""
    rows = np.array([(*key, *sums) for key, sums in into.items()], DTYPE)
    return start_ns, start_ns + window_ns, rows
