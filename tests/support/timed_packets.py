"""Events of packets with given times: each takes the path `events.PATH`."""

from __future__ import annotations

import numpy as np

from tests.support.events import A0, A1, BASE, DROP, HOST, PATH, UDP, columns

BEGIN = 10**12
#: Segments between the hops of `PATH`.
SEGMENTS = (
    "c1:eth0 queue → c1:eth0 xmit",
    "c1:eth0 xmit → host:veth1 rx",
    "host:veth1 rx → host:veth1 receive",
    "host:veth1 receive → host:veth0 queue",
    "host:veth0 queue → host:veth0 xmit",
    "host:veth0 xmit → c0:eth0 rx",
    "c0:eth0 rx → c0:eth0 receive",
)


def packets(start_ns, steps_ns, *, sport=40000, dropped=()) -> dict[str, np.ndarray]:
    """Return the events of datagrams from c1 to c0 that arrive and are not read.

    Parameters
    ----------
    start_ns : array_like of int, shape (packets,)
        When each is sent, in ns after `BEGIN`, ascending.
    steps_ns : array_like of int, shape (packets, 7)
        Time of each segment, ns.
    sport : int or array_like of int
        Source port of each, which identifies its flow.
    dropped : collection of int
        Numbers of packets that the host drops 10 ns after their fifth hop, the queue of veth0.
    """
    n = len(start_ns)
    hops = np.column_stack([np.zeros(n, np.int64), np.asarray(steps_ns, np.int64)]).cumsum(axis=1)
    hops += BEGIN + np.asarray(start_ns, np.int64)[:, None]
    rows = []
    for number, (times, port) in enumerate(zip(hops.tolist(), np.broadcast_to(sport, n).tolist(), strict=True)):
        one = {
            "skb": BASE + 4 * number,
            "saddr": A1,
            "daddr": A0,
            "sport": port,
            "dport": 5000,
            "proto": UDP,
            "seq": number,
            "ident": number % 65536,
            "len_bytes": 100,
            "shape": 7 << 3,
            "detail": 1,
            "epoch": 1,
            "rules": 1,
        }
        for at, (netns, ifindex, point) in zip(times, PATH, strict=True):
            rows.append(one | {"ts_ns": at, "netns": netns, "ifindex": ifindex, "point": point})
            if number in dropped and (netns, ifindex, point) == PATH[4]:
                rows.append(one | {"ts_ns": at + 10, "netns": HOST, "ifindex": 3, "point": DROP, "detail": 2})
                break
    return columns({name: np.array([row[name] for row in rows], np.int64) for name in rows[0]}, len(rows))


def taking(delays_ns) -> np.ndarray:
    """Return steps that add up to these delays (ns): 1 ns each, and the rest in the queue of the softirq at veth1."""
    steps = np.ones((len(delays_ns), len(SEGMENTS)), np.int64)
    steps[:, 2] = np.asarray(delays_ns) - (len(SEGMENTS) - 1)
    return steps
