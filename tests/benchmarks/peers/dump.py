"""tcpdump: on all interfaces of the host at once, and one process for each interface of the containers' network."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from .tracer import Program

_COUNTS = re.compile(r"(\d+) packets? (captured|dropped by kernel)")


def everywhere(lab, expression: str, scratch: Path) -> Program:
    """Return ``tcpdump -i any``, which sees the host's ends of the containers' interfaces and the bridge."""
    return _program([_command(["-i", "any"], expression, scratch / "any.pcap")])


def on_each(lab, expression: str, scratch: Path) -> Program:
    """Return a tcpdump for each interface that the packets pass, in the host's namespace and in the containers'."""
    commands = [_command(["-i", name], expression, scratch / f"{name}.pcap") for name in _host_interfaces(lab)]
    for name, container in lab.containers.items():
        into = ["nsenter", "-t", str(container.pid), "-n"]
        commands.append([*into, *_command(["-i", "eth0"], expression, scratch / f"{name}.pcap")])
    return _program(commands)


def _host_interfaces(lab) -> list[str]:
    """Return the bridges of a lab and the host's ends of its containers' interfaces."""
    here = {link["ifindex"]: link for link in _links()}
    found = []
    for container in lab.containers.values():
        for link in _links("nsenter", "-t", str(container.pid), "-n"):
            peer = here.get(link.get("link_index", 0))
            if peer and link["ifname"] != "lo":
                found += [peer["ifname"], peer.get("master", "")]
    return sorted(set(filter(None, found)))


def _links(*prefix: str) -> list[dict]:
    output = subprocess.run([*prefix, "ip", "-j", "link"], check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def _command(where: list[str], expression: str, file: Path) -> list[str]:
    # Headers are enough for times; times are taken in nanoseconds.
    limits = ["-n", "-s", "128", "--time-stamp-precision=nano", "-Z", "root"]
    return ["tcpdump", *where, *limits, "-w", str(file), *expression.split()]


def _program(commands: list[list[str]]) -> Program:
    return Program(commands, lambda _, said: "listening on" in said, counts)


def counts(said: list[str]) -> tuple[int, int]:
    """Return how many packets were captured and how many the kernel dropped, over all processes.

    Raises
    ------
    ValueError
        A process reported no counts.
    """
    totals = {"captured": 0, "dropped by kernel": 0}
    for text in said:
        found = {what: int(count) for count, what in _COUNTS.findall(text)}
        if found.keys() != totals.keys():
            raise ValueError(f"tcpdump reported no counts: {text[-300:]!r}")
        for what, count in found.items():
            totals[what] += count
    return totals["captured"], totals["dropped by kernel"]
