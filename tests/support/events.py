"""Synthetic events of packets with known journeys."""

from __future__ import annotations

import numpy as np

from cmonlab.data.correlation.correlate import Stages
from cmonlab.data.store import directory

QUEUE, XMIT, RX, RECEIVE, GRO, DELIVER, CONSUME, DROP, READ = range(9)
SEND, ENQUEUE, DEQUEUE, RETRANSMIT, RTT, WAKE, RUN, FUNCTION, NOTE = 10, 11, 12, 13, 14, 15, 16, 32, 64
STAGES = Stages(
    transmit=frozenset({QUEUE, ENQUEUE, DEQUEUE, XMIT}),
    receive=frozenset({RX, RECEIVE, GRO}),
    function=frozenset({FUNCTION}),
    deliver=frozenset({DELIVER}),
    read=frozenset({READ}),
    consume=frozenset({CONSUME}),
    drop=frozenset({DROP}),
    send=frozenset({SEND}),
    retransmit=frozenset({RETRANSMIT}),
    rtt=frozenset({RTT}),
    wake=frozenset({WAKE}),
    run=frozenset({RUN}),
)
TCP, UDP = 6, 17
C0, C1, HOST = 4026532001, 4026532002, 4026532003
A0, A1 = 0x0A004D0A, 0x0B004D0A  # 10.77.0.10 and .11 as in the kernel's memory
BASE = 0x04000000  # of the packet buffers: their addresses / 64
SOCKET = BASE - 64

#: (namespace, interface, point) of the hops from c1 to c0 over a bridge.
PATH = (
    (C1, 2, QUEUE),
    (C1, 2, XMIT),
    (HOST, 4, RX),
    (HOST, 4, RECEIVE),
    (HOST, 3, QUEUE),
    (HOST, 3, XMIT),
    (C0, 2, RX),
    (C0, 2, RECEIVE),
)


def columns(rows: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Return all stored columns in order of time; missing ones are 0."""
    order = np.argsort(rows["ts_ns"], kind="stable")
    empty = directory.empty_columns()
    return {
        name: np.asarray(rows.get(name, np.zeros(count, np.int64)))[order].astype(of.dtype)
        for name, of in empty.items()
    }


def manifest(lost: int = 0, trace_gap_ns: int = 0) -> dict:
    """Return the manifest of a session with events of `PATH`."""
    from dataclasses import asdict

    from cmonlab.points.catalogue import CATALOGUE

    places = (
        (C0, "c0", 2, "eth0", 0, "10.77.0.10"),
        (C1, "c1", 2, "eth0", 0, "10.77.0.11"),
        (HOST, "host", 2, "br0", 0, "10.77.0.1"),
        (HOST, "host", 3, "veth0", 2, ""),
        (HOST, "host", 4, "veth1", 2, ""),
    )
    links = [
        {
            "netns": netns,
            "namespace": namespace,
            "ifindex": ifindex,
            "name": name,
            "kind": "veth",
            "master": master,
            "peer": 0,
            "mtu": 1500,
            "mac": "",
            "addresses": [address] if address else [],
        }
        for netns, namespace, ifindex, name, master, address in places
    ]
    ledger = [
        {
            "point": p.name,
            "seen": 10 + lost,
            "unmatched": 10,
            "sampled_out": 0,
            "counted": 0,
            "aggregated": 0,
            "overflowed": 0,
            "recorded": 0,
            "lost": lost,
        }
        for p in CATALOGUE
    ]
    rule = {
        "name": "all",
        "match": {"packets": "", "containers": None, "direction": "both"},
        "points": ["default"],
        "mode": "capture",
        "by": None,
        "sample": 1.0,
        "limit": None,
        "duration": None,
    }
    return {
        "points": [asdict(p) for p in CATALOGUE],
        "links": links,
        "ledger": ledger,
        "addresses6": {},
        "symbols": {},
        "blind": [{"cpu": 0, "start_ns": 0, "end_ns": trace_gap_ns}] if trace_gap_ns else [],
        "drop_reasons": {"2": "NOT_SPECIFIED"},
        "workload": None,
        "missing": [],
        "rules": [{"slot": 0, "name": "all", "rule": rule, "epochs": [1, 1]}],
        "recording": {"ended": "finished"},
        "host": {},
    }


def _one_after_the_other(times: np.ndarray) -> np.ndarray:
    """Return times that are strictly ascending: each is delayed until after the one before it."""
    number = np.arange(len(times))
    return np.maximum.accumulate(times - number) + number


def bulk(packets: int, seed: int = 1, tcp_share: float = 0.5, pool: int = 512) -> dict[str, np.ndarray]:
    """Return events of many packets, UDP and TCP, with several in flight at a time; about ten events per packet.

    Each packet is read; half of the frees are recorded.
    """
    rng = np.random.default_rng(seed)
    hops = len(PATH)
    tcp = rng.random(packets) < tcp_share
    begin = 10**12 + np.cumsum(rng.integers(400, 1600, packets))
    hop_ts = begin[:, None] + np.cumsum(rng.integers(200, 900, (packets, hops)), axis=1)
    number = np.arange(packets)
    read_ts = _one_after_the_other(hop_ts[:, -1] + rng.integers(1000, 9000, packets))
    queue = number[~tcp][np.argsort(hop_ts[~tcp, -1], kind="stable")]  # UDP, in order of arrival
    read_ts[queue] = _one_after_the_other(hop_ts[queue, -1] + rng.integers(1000, 9000, len(queue)))
    left = np.searchsorted(hop_ts[queue, -1], read_ts[queue]) - np.arange(1, len(queue) + 1)
    flow = rng.integers(0, 8, packets)
    size = np.where(tcp, 1448, 40)
    position = np.zeros(packets, np.int64)
    for f in range(8):
        mine = tcp & (flow == f)
        position[mine] = np.arange(mine.sum()) * 1448 + 2**32 - 10**6
    fields = {
        "skb": BASE + number % pool * 4,
        "saddr": np.full(packets, A1),
        "daddr": np.full(packets, A0),
        "sport": 40000 + flow,
        "dport": np.where(tcp, 5201, 5000),
        "proto": np.where(tcp, TCP, UDP),
        "seq": np.where(tcp, position % 2**32, rng.integers(0, 2**32, packets)),
        "ident": number % 65536,
        "len_bytes": size + np.where(tcp, 52, 28),
        "shape": np.where(tcp, 13 << 3, 7 << 3),
        "detail": np.ones(packets),
        "epoch": np.ones(packets),
        "rules": np.ones(packets),
    }
    packet = np.repeat(number, hops)
    rows = [
        {name: values[packet] for name, values in fields.items()}
        | {
            "ts_ns": hop_ts.ravel(),
            "cpu": rng.integers(0, 2, len(packet)),
            **dict(zip(("netns", "ifindex", "point"), np.tile(np.array(PATH).T, packets), strict=True)),
        }
    ]

    def after(which, ts, point, **changes):
        one = {name: values[which] for name, values in fields.items()}
        zero = np.zeros(len(which), np.int64)
        rows.append(
            one
            | {"ts_ns": ts[which], "cpu": zero, "netns": zero + C0, "ifindex": zero, "point": zero + point}
            | changes
        )

    none = np.zeros(len(queue), np.int64)
    after(
        queue,
        read_ts,
        READ,
        skb=none + SOCKET,
        len_bytes=size[queue],
        detail=left,
        **dict.fromkeys(("saddr", "daddr", "sport", "seq", "ident", "shape"), none),
    )
    none = np.zeros(np.count_nonzero(tcp), np.int64)
    after(
        number[tcp],
        read_ts,
        READ,
        skb=SOCKET - 64 - flow[tcp],
        aux=size[tcp],
        len_bytes=size[tcp],
        **dict.fromkeys(("ident", "shape", "detail"), none),
    )
    freed = number[rng.random(packets) < 0.5]
    after(freed, read_ts + 50, CONSUME)
    names = {name for part in rows for name in part}
    count = sum(len(part["ts_ns"]) for part in rows)
    whole = {
        name: np.concatenate([np.asarray(part.get(name, np.zeros(len(part["ts_ns"]), np.int64))) for part in rows])
        for name in names
    }
    return columns(whole, count)
