"""bpftrace: a script that prints what cmonlab records, at the same points."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .tracer import Program, perf_events

_LOST = re.compile(r"Lost (\d+) events")
_POINT = """
tracepoint:net:{point} {{
  $skb = (struct sk_buff *)args->skbaddr;
  $ip = (struct iphdr *)($skb->head + $skb->network_header);
  $ports = (struct udphdr *)($skb->head + $skb->network_header + ($ip->ihl * 4));
  if ($ip->version == 4 && $ip->protocol == {protocol} &&
      ($ports->source == {port} || $ports->dest == {port})) {{
    printf("{number} %llu %llx %u %u %x %x %u %u %u %u\\n", nsecs, args->skbaddr, $skb->dev->nd_net.net->ns.inum,
           $skb->dev->ifindex, $ip->saddr, $ip->daddr, $ports->source, $ports->dest, $skb->len, $ip->id);
  }}
}}
"""


def program(points: Sequence[str], protocol: str, port: int, scratch: Path) -> Program:
    """Return bpftrace with a script for the given points, which prints packets of one port into a file."""
    file = scratch / "points.bt"
    file.write_text(text(points, protocol, port))
    output = scratch / "printed"

    def is_ready(process: subprocess.Popen, _said: str) -> bool:
        return perf_events(process) >= len(points) + len(os.sched_getaffinity(0))

    def read(said: list[str]) -> tuple[int, int]:
        with open(output, "rb") as printed:
            lines = sum(line[:1].isdigit() for line in printed)
        return lines, lost(said[0]) + lost(_lines_of_words(output))

    return Program([["bpftrace", "-o", str(output), str(file)]], is_ready, read)


def text(points: Sequence[str], protocol: str, port: int) -> str:
    """Return the script."""
    number = {"tcp": 6, "udp": 17}[protocol]
    swapped = int.from_bytes(port.to_bytes(2, "big"), "little")  # as on the wire
    return "".join(
        _POINT.format(point=point, number=at, protocol=number, port=swapped) for at, point in enumerate(points)
    )


def lost(said: str) -> int:
    """Return how many lost events bpftrace reports."""
    return sum(map(int, _LOST.findall(said)))


def _lines_of_words(path: Path) -> str:
    with open(path, encoding="utf-8", errors="replace") as printed:
        return "".join(line for line in printed if not line[:1].isdigit())
