"""Synthetic tables of `cmonlab.schema` that are consistent with each other: containers on a bridge, hop by hop."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pandas as pd

from cmonlab import schema

# Hop by hop, with the median time in ns and the kind of the segment that ends there: container, host's veth, bridge,
# host's veth, container, application.
PATH = (
    ("{src}:eth0 queue", 0, ""),
    ("{src}:eth0 xmit", 420, "processing"),
    ("host:veth{src}ab12cd softirq", 310, "softirq"),
    ("host:veth{src}ab12cd receive", 2_900, "queueing"),
    ("host:br-cmonlab queue", 780, "processing"),
    ("host:veth{dst}ef34ab xmit", 650, "processing"),
    ("{dst}:eth0 receive", 1_900, "queueing"),
    ("{dst}:eth0 run", 11_500, "scheduling"),
)
KINDS = ["", "processing", "queueing", "softirq", "scheduling"]


def path(src: str, dst: str) -> tuple[list[str], list[str], np.ndarray]:
    """Return the hops, the segments (empty at the first hop) and the median segment times in ns of a direction."""
    hops = [name.format(src=src, dst=dst) for name, _, _ in PATH]
    segments = ["", *(f"{a} → {b}" for a, b in pairwise(hops))]
    return hops, segments, np.array([median for _, median, _ in PATH], float)


def make_hops(journeys: int = 500, *, pairs=(("c1", "c0"), ("c0", "c1")), seed: int = 1) -> pd.DataFrame:
    """Return the hops of complete journeys, with alternating directions."""
    rng = np.random.default_rng(seed)
    names, segments, medians = zip(*(path(*pair) for pair in pairs), strict=True)
    names, segments = (list(dict.fromkeys(chain(*lists))) for lists in (names, segments))
    turn = np.arange(journeys) % len(pairs)
    steps = np.array(medians)[turn] * np.exp(rng.standard_normal((journeys, len(PATH))) * 0.35)
    steps *= np.where(rng.random(steps.shape) < 0.01, 8, 1)  # a softirq that had to wait
    steps = steps.astype(np.int64)
    offset = steps.cumsum(axis=1)
    start = 10**12 + np.sort(rng.integers(0, 10**10, journeys))

    def codes(kind: int, known: list[str]) -> np.ndarray:
        table = np.array([[known.index(label) for label in path(*pair)[kind]] for pair in pairs])
        return table[turn].ravel()

    frame = pd.DataFrame(
        {
            "journey": np.repeat(np.arange(journeys, dtype=np.int64), len(PATH)),
            "ts_ns": (start[:, None] + offset).ravel(),
            "offset_ns": offset.ravel(),
            "hop": pd.Categorical.from_codes(codes(0, names), names),
            "segment": pd.Categorical.from_codes(codes(1, segments), segments),
            "kind": pd.Categorical.from_codes(np.tile([KINDS.index(kind) for *_, kind in PATH], journeys), KINDS),
            "segment_ns": steps.ravel(),
        }
    )
    return frame[schema.columns("hops")]


def make_breakdown(hops: pd.DataFrame, pairs=(("c1", "c0"), ("c0", "c1"))) -> pd.DataFrame:
    """Return the breakdown of these hops; all journeys are complete."""
    turn = hops["journey"].to_numpy() % len(pairs)
    rows = []
    for number, (src, dst) in enumerate(pairs):
        mine = hops[(turn == number) & (hops["segment"] != "")]
        for (name, kind), times in mine.groupby(["segment", "kind"], observed=True, sort=False)["segment_ns"]:
            rows.append(
                (f"{src} → {dst}", name, kind, len(times), *_spread(times, times.sum() / mine["segment_ns"].sum()))
            )
    return conform(pd.DataFrame(rows, columns=schema.columns("breakdown")), "breakdown")


def make_kinds(hops: pd.DataFrame, pairs=(("c1", "c0"), ("c0", "c1"))) -> pd.DataFrame:
    """Return the breakdown by kind of these hops."""
    inner = hops[hops["segment"] != ""].assign(turn=lambda table: table["journey"] % len(pairs))
    sums = inner.groupby(["turn", "kind", "journey"], observed=True)["segment_ns"].sum()
    rows = []
    for (turn, kind), times in sums.groupby(["turn", "kind"], observed=True):
        share = times.sum() / sums.loc[turn].sum()
        rows.append((" → ".join(pairs[turn]), kind, len(times), *_spread(times, share)))
    return conform(pd.DataFrame(rows, columns=schema.columns("breakdown_by_kind")), "breakdown_by_kind")


def _spread(times: pd.Series, share: float) -> list[float]:
    quantiles = times.quantile([0.5, 0.9, 0.99, 0.999]).to_list()
    return [*quantiles, times.mean(), share, *[quantiles[0]] * 2, *[quantiles[2]] * 2]


def make_journeys(hops: pd.DataFrame, pairs=(("c1", "c0"), ("c0", "c1"))) -> pd.DataFrame:
    """Return the journeys of these hops."""
    each = hops.groupby("journey")
    ends = each["ts_ns"].agg(["min", "max"])
    src, dst = (np.array([pair[i] for pair in pairs])[ends.index % len(pairs)] for i in (0, 1))
    table = pd.DataFrame({"journey": ends.index, "start_ns": ends["min"].to_numpy(), "src": src, "dst": dst})
    table["one_way_delay_ns"] = (ends["max"] - ends["min"]).to_numpy()
    table["direction"] = table["src"] + " → " + table["dst"]
    table["hops"] = each.size().to_numpy()
    constants = {
        "proto": "tcp",
        "sport": 45_678,
        "dport": 11_211,
        "seq": 1,
        "tcp_flags": 24,
        "len_bytes": 1_076,
        "payload_bytes": 1_024,
        "gso_segs": 1,
        "path": "eth0 → veth → br-cmonlab → veth → eth0",
        "outcome": "delivered",
        "complete": True,
        "drop_reason": "",
        "repeats": -1,
        "parent": -1,
        "rules": 1,
        "epoch": 1,
    }
    return conform(table.assign(**constants), "journeys")


def make_throughput(windows: int = 40, *, window_s: float = 0.25, directions=("c1 → c0", "c0 → c1")) -> pd.DataFrame:
    """Return rates around 2 Gbit/s, 100 Mbit/s, 5 Mbit/s, …"""
    rng = np.random.default_rng(2)
    time_s = np.round(np.arange(windows) * window_s, 9)
    parts = []
    for number, direction in enumerate(directions):
        rate = 2e9 / 20**number * rng.normal(1, 0.06, windows)
        parts.append(pd.DataFrame({"time_s": time_s, "direction": direction, "throughput_bps": rate}))
    table = pd.concat(parts)
    table["packets"] = table["throughput_bps"] * window_s / 8 // 1_500
    table["goodput_bps"] = table["throughput_bps"] * 0.94
    return conform(table, "throughput")


def make_ledger(lost: int = 0) -> pd.DataFrame:
    """Return the ledger of eight points; busy points lost `lost` events each."""
    rows = []
    for point, seen in (
        ("net_dev_queue", 1_204_118),
        ("net_dev_start_xmit", 1_204_118),
        ("netif_rx", 802_745),
        ("netif_receive_skb", 1_605_490),
        ("napi_gro_receive_entry", 0),
        ("skb_copy_datagram_iovec", 401_300),
        ("consume_skb", 1_412_000),
        ("kfree_skb", 31),
    ):
        unmatched = seen // 11
        sampled_out = seen // 5
        counted, aggregated, overflowed = seen // 20, seen // 9, seen // 900
        gone = lost if seen > 10_000 else 0
        recorded = seen - unmatched - sampled_out - counted - aggregated - overflowed - gone
        rows.append((point, seen, unmatched, sampled_out, counted, aggregated, overflowed, recorded, gone))
    return pd.DataFrame(rows, columns=schema.columns("ledger"))


def make_drops(packets: int = 60) -> pd.DataFrame:
    """Return dropped packets of three reasons at two places."""
    number = np.arange(packets)
    reasons = np.array(["NETFILTER_DROP", "TCP_OLD_DATA", "NO_SOCKET"])
    places = np.array(["c0:eth0", "host:vethc0ef34ab"])
    table = pd.DataFrame({"ts_ns": 10**12 + number * 10**6, "reason": reasons[(number % 6 > 2) + (number % 6 > 4) * 1]})
    constants = {
        "code": "nf_hook_slow",
        "direction": "c1 → c0",
        "proto": "tcp",
        "sport": 45_678,
        "dport": 11_211,
        "len_bytes": 60,
        "journey": -1,
    }
    return conform(table.assign(place=places[number % 2], **constants), "drops")


def no_rows(name: str) -> pd.DataFrame:
    """Return an empty table with its columns and dtypes."""
    return pd.DataFrame({column.name: pd.Series(dtype=column.dtype) for column in schema.TABLES[name]})


def conform(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the table with the schema's columns, in order and of its dtypes."""
    return table[schema.columns(name)].astype({c.name: c.dtype for c in schema.TABLES[name]}).reset_index(drop=True)


def make_overhead(tracers=("traced",), rounds: int = 8) -> pd.DataFrame:
    """Return a tracing overhead that grows by 1% with each tracer: lower throughput, higher other metrics."""
    from cmonlab.data.analysis.overhead import UNTRACED, table

    draw = np.random.default_rng(2)
    untraced = {"throughput": 50_000.0, "p50": 20_000.0, "p99": 90_000.0, "CPU": 15_000.0, "tracer CPU": 0.01}
    units = dict(zip(untraced, ("message/s", "ns", "ns", "ns/message", "CPUs"), strict=True))
    samples = {UNTRACED: {metric: [value] * rounds for metric, value in untraced.items()}}
    for number, tracer in enumerate(tracers, 1):
        samples[tracer] = {
            metric: (
                value * (1 + (-0.01 if metric == "throughput" else 0.01) * number + draw.normal(0, 1e-3, rounds))
            ).tolist()
            for metric, value in untraced.items()
        }
    return table(samples, units)


def make_topology(containers: int = 3, *, hosts: int = 1) -> pd.DataFrame:
    """Return containers on one bridge per host; several hosts are connected by VXLAN devices and their uplinks."""
    rows = []
    for host in ["host"] if hosts == 1 else [f"h{i}" for i in range(hosts)]:
        for i in range(containers):
            name = f"c{i}" if hosts == 1 else f"{host}-c{i}"
            rows.append(
                (name, f"{host}:br-1a2b", "container", "bridge", "veth", f"{name}:eth0", f"{host}:veth{i}", host, host)
            )
        if hosts > 1:
            rows.append((f"{host}:br-1a2b", f"{host}:vxlan0", "bridge", "vxlan", "port", "", "", host, host))
            rows.append((f"{host}:vxlan0", f"{host}:eth0", "vxlan", "interface", "uplink", "", "", host, host))
    rows += [
        ("h0:eth0", f"h{i}:eth0", "interface", "interface", "veth", "", "", "h0", f"h{i}") for i in range(1, hosts)
    ]
    names = ["a", "b", "a_kind", "b_kind", "kind", "a_interface", "b_interface", "a_host", "b_host"]
    return pd.DataFrame(rows, columns=names)


def make_edges(links: pd.DataFrame, *, seed: int = 3) -> pd.DataFrame:
    """Return both directions of each edge of a topology, all with traffic and without drops."""
    rng = np.random.default_rng(seed)
    src, dst = (pd.concat([links[a], links[b]], ignore_index=True) for a, b in ("ab", "ba"))
    packets = rng.integers(10, 9_000, len(src))
    delay = np.exp(rng.normal(9.5, 1, len(src)))
    return pd.DataFrame(
        {
            "start_ns": 0,
            "end_ns": 10**9,
            "src": src,
            "dst": dst,
            "packets": packets,
            "bytes": packets * 900,
            "throughput_bps": packets * 7_200.0,
            "delay_p50_ns": delay,
            "delay_p99_ns": 4 * delay,
            "dropped": 0,
            "loss": 0.0,
        }
    )


def make_pairs(containers: int = 12, *, share: float = 0.7, seed: int = 4) -> pd.DataFrame:
    """Return one window with a share of all pairs of containers, without loss."""
    rng = np.random.default_rng(seed)
    src, dst = np.nonzero(rng.random((containers, containers)) < share * (1 - np.eye(containers)))
    packets = rng.integers(10, 9_000, len(src))
    delay = np.exp(rng.normal(9.5, 1, len(src)))
    table = pd.DataFrame(
        {
            "start_ns": 0,
            "end_ns": 10**9,
            "rule": "all",
            "src": [f"c{i}" for i in src],
            "dst": [f"c{i}" for i in dst],
            "packets_sent": packets,
            "packets_arrived": packets,
            "bytes": packets * 900,
            "dropped": 0,
            "lost": 0.0,
            "throughput_bps": packets * 7_200.0,
            "lost_total": 0.0,
            "retransmissions": 0,
            "srtt_p50_ns": np.nan,
            "one_way_delay_p50_ns": delay,
            "one_way_delay_p99_ns": 4 * delay,
        }
    )
    return conform(table.assign(direction=table["src"] + " → " + table["dst"]), "pairs")


def make_one_way_delay(journeys: pd.DataFrame) -> pd.DataFrame:
    """Return the quantiles of the delays of these journeys, with intervals of ±5%."""
    each = journeys.groupby("direction", observed=True)["one_way_delay_ns"]
    names = ("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99), ("p999_ns", 0.999)
    table = pd.DataFrame({name: each.quantile(q) for name, q in names})
    table = table.assign(n=each.size(), min_ns=each.min(), max_ns=each.max(), mean_ns=each.mean(), std_ns=each.std())
    for name in ("p50", "p99"):
        table[f"{name}_low_ns"], table[f"{name}_high_ns"] = 0.95 * table[f"{name}_ns"], 1.05 * table[f"{name}_ns"]
    return conform(table.assign(clock_error_ns=0).reset_index(), "one_way_delay")


def make_tail() -> pd.DataFrame:
    """Return the tail of two directions, with seven segments and a residual per direction."""
    rows = []
    for number, pair in enumerate((("c1", "c0"), ("c0", "c1"))):
        _, segments, medians = path(*pair)
        difference = np.sort(medians[1:] * np.arange(1, 8))[::-1] * (1 + number)
        kinds = [kind for *_, kind in PATH[1:]]
        total = difference.sum() - 40
        rows += [
            (" → ".join(pair), name, kind, 3_000, 60, 0.99, typical, typical + d, d, 0.9 * d, 1.1 * d, d / total)
            for name, kind, typical, d in zip(segments[1:], kinds, medians[1:], difference, strict=True)
        ]
        rows.append((" → ".join(pair), "residual", "", 3_000, 60, 0.99, 10.0, -30.0, -40.0, -50.0, -30.0, -40 / total))
    return conform(pd.DataFrame(rows, columns=schema.columns("where_is_the_tail")), "where_is_the_tail")


def make_timeline(windows: int = 30, *, directions=("c1 → c0", "c0 → c1")) -> pd.DataFrame:
    """Return windows of 100 ms per direction; in some of them packets were dropped."""
    rng = np.random.default_rng(5)
    number = np.arange(windows)
    parts = []
    for direction in directions:
        p50 = np.exp(rng.normal(9.5, 0.3, windows))
        parts.append(
            pd.DataFrame(
                {
                    "start_ns": number * 10**8,
                    "end_ns": (number + 1) * 10**8,
                    "time_s": number / 10,
                    "rule": "",
                    "direction": direction,
                    "packets": 1_000,
                    "throughput_bps": rng.normal(3e8, 1e7, windows),
                    "one_way_delay_p50_ns": p50,
                    "one_way_delay_p99_ns": 6 * p50,
                    "dropped": (number % 7 == 3) * 4,
                    "retransmissions": (number % 7 == 3) * 2,
                    "lost_events": 0.0,
                    "trace_gap_ns": (number % 10 == 5) * 5_000_000,
                }
            )
        )
    return conform(pd.concat(parts, ignore_index=True), "timeline")
