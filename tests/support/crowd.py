"""Synthetic windows of many containers on a bridge, and a fake client of an agent that sends them.

Tests use them without root and traffic, to see how the dashboard's model, view and browser cope with two hundred
containers.
"""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import numpy as np

from cmonlab.data.analysis.histogram import bucket_of
from cmonlab.data.store.cells import columns_of
from cmonlab.data.store.directory import empty_columns
from cmonlab.errors import TransportError, UnknownName
from cmonlab.rules import Rule
from cmonlab.session.session import Session
from tests.support.aggregates import DROPPED, DTYPE, HOP, SEGMENT, TOTAL
from tests.support.events import DROP, QUEUE, RECEIVE, RX, XMIT, manifest

HOST, FIRST, BRIDGE = 4026530000, 4026540000, 2
RULE = Rule(name="crowd", match="", mode="aggregate")


def address(number: int) -> str:
    """Return the IPv4 address of a container."""
    return f"10.78.{(number + 10) >> 8}.{(number + 10) & 255}"


def _address_number(number: int) -> int:
    """Return a container's address as the kernel stores it, in a little-endian integer."""
    return int.from_bytes(bytes(map(int, address(number).split("."))), "little")


def links(count: int) -> list[dict]:
    """Return the rows of the links table: each container has a veth, whose other end is a port of one bridge."""
    base = {"mtu": 1500, "mac": "", "from_ns": 0, "to_ns": 0, "master": 0, "peer": 0}
    rows = [
        base
        | {
            "netns": HOST,
            "namespace": "host",
            "ifindex": BRIDGE,
            "name": "br-crowd",
            "kind": "bridge",
            "addresses": ["10.78.255.254"],
        }
    ]
    for n in range(count):
        rows.append(
            base
            | {
                "netns": HOST,
                "namespace": "host",
                "ifindex": 10 + n,
                "name": f"veth{n}",
                "kind": "veth",
                "master": BRIDGE,
                "peer": 2,
                "addresses": [],
            }
        )
        rows.append(
            base
            | {
                "netns": FIRST + n,
                "namespace": f"c{n}",
                "ifindex": 2,
                "name": "eth0",
                "kind": "veth",
                "peer": 10 + n,
                "addresses": [address(n)],
            }
        )
    return rows


def manifest_of(count: int, rule: Rule = RULE) -> dict:
    """Return the manifest of a host with `count` containers and one rule."""
    entries = manifest()
    entries["links"] = links(count)
    entries["rules"] = [{"slot": 0, "name": rule.name, "rule": rule.model_dump(mode="json"), "epochs": [1, 1]}]
    return entries | {"workload": None, "recording": {"ended": "finished"}}


def window(count: int, start_ns: int, end_ns: int, packets: int = 20, seed: int = 0, dropped: int = 0) -> np.ndarray:
    """Return the cells of a window in which neighbours exchange packets, and each container exchanges some with c0.

    Parameters
    ----------
    count : int
        Number of containers.
    start_ns, end_ns : int
        The window, ns.
    packets : int
        Packets per direction; each segment takes from 2 to 40 µs.
    seed : int
        Of the random times.
    dropped : int
        Further packets from c1 to c0, which the bridge drops.

    Returns
    -------
    numpy.ndarray
        Of dtype `tests.support.aggregates.DTYPE`, shape ``(cells,)``.
    """
    rng = np.random.default_rng(seed)
    pairs = {(a, b) for n in range(0, count - 1, 2) for a, b in ((n, n + 1), (n + 1, n))}
    pairs |= {(a, b) for n in range(1, count) for a, b in ((0, n), (n, 0))}
    src, dst = np.array(sorted(pairs)).T
    words = np.array([_address_number(n) for n in range(count)], np.uint32)
    parts = []

    def add(netns, ifindex, kind, point, before, took_ns, each):
        part = np.zeros(len(src), DTYPE)
        part["kind"], part["point"], part["from"] = kind, point, before
        part["netns"], part["ifindex"] = netns, ifindex
        part["saddr"], part["daddr"], part["proto"] = words[src], words[dst], 17
        part["packets"], part["bytes"], part["sum_ns"] = each, 100 * each, took_ns * each
        part["bucket"] = bucket_of(took_ns) if kind != DROPPED else 2
        parts.append(part)

    total = np.zeros(len(src), np.int64)
    path = [
        (FIRST + src, 2, QUEUE),
        (FIRST + src, 2, XMIT),
        (HOST, 10 + src, RX),
        (HOST, 10 + src, RECEIVE),
        (HOST, 10 + dst, QUEUE),
        (HOST, 10 + dst, XMIT),
        (FIRST + dst, 2, RX),
        (FIRST + dst, 2, RECEIVE),
    ]
    add(*path[0][:2], HOP, QUEUE, 0, total, packets)
    for (_, _, before), (netns, ifindex, point) in pairwise(path):
        took = (2000 + 38000 * rng.random(len(src)) ** 4 + 100 * (dst % 7)).astype(np.int64)
        total += took
        add(netns, ifindex, SEGMENT, point, before, took, packets)
    add(*path[-1][:2], TOTAL, RECEIVE, 0, total, packets)
    if dropped:
        src, dst = np.array([1]), np.array([0])
        add(HOST, 11, DROPPED, DROP, 0, np.zeros(1, np.int64), dropped)
    return np.concatenate(parts)


def session(count: int, start_ns: int = 10**9, length_ns: int = 250_000_000, **options) -> Session:
    """Return one window as an agent's client returns it; `options` are those of `window`."""
    end_ns = start_ns + length_ns
    found = window(count, start_ns, end_ns, **options)
    return Session(empty_columns(), manifest_of(count), columns_of([(start_ns, end_ns, found)]))


class _Windows:
    """Like `cmonlab.live.agent.windows.Windows`, with synthetic windows of `every_s` seconds."""

    missed = 0

    def __init__(self, client: CrowdClient, every_s: float):
        self._client, self._every_s = client, every_s
        self._entries = manifest_of(client.count)
        self._due_s, self._closed = time.monotonic(), threading.Event()

    def joined(self, least_s: float, timeout_s: float) -> Session | None:
        self._client.check()
        begin_s, self._due_s = self._due_s, max(self._due_s + self._every_s, time.monotonic())
        if self._closed.wait(self._due_s - time.monotonic()) or self._client.silent:
            return None
        seed = self._client.sent = self._client.sent + 1
        start_ns, end_ns = int(begin_s * 1e9), int(self._due_s * 1e9)
        packets = 10 + 5 * (seed // 8 % 4)
        found = window(self._client.count, start_ns, end_ns, packets, seed, dropped=self._client.dropped)
        return Session(empty_columns(), dict(self._entries), columns_of([(start_ns, end_ns, found)]))

    def close(self) -> None:
        self._closed.set()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()


class CrowdClient:
    """Like `cmonlab.live.agent.client.Client`, of a simulated host.

    Parameters
    ----------
    count : int
        Number of containers.

    Attributes
    ----------
    silent : bool
        Whether there are no packets.
    gone : bool
        Whether the agent does not answer.
    broken : bool
        Whether the agent answers but sends no windows.
    dropped : int
        Packets from c1 to c0 that are dropped in each window.
    sent : int
        Number of windows so far.
    """

    def __init__(self, count: int = 200):
        self.count, self.host, self.sent = count, "crowd", 0
        self.silent = self.gone = self.broken = False
        self.dropped = 0
        self._rules, self._began_s = {RULE.name: RULE}, time.monotonic()

    def check(self) -> None:
        """Raise an error if the agent is gone."""
        if self.gone:
            raise TransportError("no agent answers", fix="start it")

    def windows(self, every_s: float | None = None) -> _Windows:
        self.check()
        if self.broken:
            raise TransportError("the answer is too long")
        return _Windows(self, every_s or 1.0)

    def written_rules(self) -> list[Rule]:
        self.check()
        return list(self._rules.values())

    def status(self) -> dict:
        self.check()
        seconds = time.monotonic() - self._began_s
        return {
            "seconds": seconds,
            "cpu_s": time.process_time(),
            "events": int(1000 * seconds),
            "lost_events": 0,
            "resident_bytes": 100 << 20,
        }

    def cost(self) -> dict:
        return {"share": 0.021, "packet_ns": 812.0}

    def apply(self, rules, replace: bool = False) -> int:
        self.check()
        self._rules |= {rule.name: rule for rule in ([rules] if isinstance(rules, Rule) else rules)}
        return 2

    def remove(self, *names: str) -> int:
        for name in names:
            if name not in self._rules:
                raise UnknownName("active rule", name, self._rules)
            del self._rules[name]
        return 3

    def record(self, seconds: float, progress=None) -> Session:
        self.check()
        if progress:
            progress("recording on crowd", 0.5)
        return session(self.count)
