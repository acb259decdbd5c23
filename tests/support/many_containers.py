"""A synthetic window of aggregates: many containers on a bridge, with known packets and times."""

from __future__ import annotations

import ipaddress

import numpy as np

from cmonlab.data.store import cells
from tests.support.aggregates import DTYPE, HOP, SEGMENT, bucket_of
from tests.support.events import QUEUE, RECEIVE, RX, XMIT, manifest

BRIDGE = 3
HOST = 4026531833


def links(containers: int) -> list[dict]:
    """Return the links of containers c0, c1, … behind a bridge of the host."""
    row = {
        "kind": "veth",
        "master": 0,
        "peer": 0,
        "lower": 0,
        "link_netns": 0,
        "vni": 0,
        "mtu": 1500,
        "mac": "",
        "addresses": [],
        "from_ns": 0,
        "to_ns": 0,
    }
    rows = [
        row
        | {
            "netns": HOST,
            "namespace": "host",
            "ifindex": BRIDGE,
            "name": "br0",
            "kind": "bridge",
            "addresses": ["10.77.0.1"],
        }
    ]
    for number in range(containers):
        address = str(ipaddress.IPv4Address("10.77.1.0") + number)
        rows.append(
            row
            | {
                "netns": HOST,
                "namespace": "host",
                "ifindex": 10 + number,
                "name": f"veth{number}",
                "master": BRIDGE,
                "peer": 2,
                "link_netns": HOST + 1 + number,
            }
        )
        rows.append(
            row
            | {
                "netns": HOST + 1 + number,
                "namespace": f"c{number}",
                "ifindex": 2,
                "name": "eth0",
                "peer": 10 + number,
                "link_netns": HOST,
                "addresses": [address],
            }
        )
    return rows


def crossing(src: int, dst: int) -> list[tuple[int, int, int, int, int]]:
    """Return (namespace, interface, point before, point, time) of each cell on a packet's path."""
    a, b = HOST + 1 + src, HOST + 1 + dst
    return [
        (a, 2, 0, QUEUE, 0),
        (a, 2, QUEUE, XMIT, 40),
        (HOST, 10 + src, XMIT, RX, 30),
        (HOST, 10 + src, RX, RECEIVE, 50 + src % 10),
        (HOST, 10 + dst, RECEIVE, QUEUE, 60),
        (HOST, 10 + dst, QUEUE, XMIT, 20),
        (b, 2, XMIT, RX, 25),
        (b, 2, RX, RECEIVE, 35),
    ]


def window(pairs: list[tuple[int, int]], packets: int, spread: int = 1) -> tuple[int, int, np.ndarray]:
    """Return one second of cells: `packets` packets of 100 bytes per pair, with times in `spread` buckets."""
    base = int(ipaddress.IPv4Address("10.77.1.0"))
    rows = []
    for src, dst in pairs:
        ends = [int.from_bytes((base + one).to_bytes(4, "big"), "little") for one in (src, dst)]
        for netns, ifindex, before, point, took in crossing(src, dst):
            for more in range(spread if took else 1):
                n = packets if not took else packets // spread
                fields = {
                    "rule": 0,
                    "kind": SEGMENT if took else HOP,
                    "saddr": ends[0],
                    "daddr": ends[1],
                    "sport": 0,
                    "dport": 0,
                    "proto": 17,
                    "shape": 0,
                    "netns": netns,
                    "ifindex": ifindex,
                    "from": before,
                    "point": point,
                    "bucket": bucket_of(took + more) if took else 0,
                    "packets": n,
                    "bytes": 100 * n,
                    "sum_ns": n * (took + more),
                }
                rows.append(tuple(fields[name] for name in DTYPE.names))
    return 10**12, 10**12 + 10**9, np.array(rows, DTYPE)


def manifest_of(containers: int) -> dict:
    """Return the manifest of a session with these containers."""
    entries = manifest() | {"links": links(containers)}
    rule = entries["rules"][0]
    return entries | {"rules": [rule | {"rule": rule["rule"] | {"mode": "aggregate"}}]}


def columns(*args, **options) -> dict[str, np.ndarray]:
    """Return the columns of `window`'s cells."""
    return cells.columns_of([window(*args, **options)])
