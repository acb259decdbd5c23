"""Cost of an agent: memory, CPU time when idle, and the delay of the first event after ``apply``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmonlab.live import agent as agents
from cmonlab.live.agent import protocol
from cmonlab.live.agent.client import Client
from cmonlab.rules import Rule
from cmonlab.study.testbed.testbed import testbed

from .outcome import Outcome
from .traffic import PORT, ping_pong

_READY_S = 60.0


@contextmanager
def agent() -> Iterator[tuple[int, Client]]:
    """Run ``cmonlab agent``; yield its pid and a client."""
    with tempfile.TemporaryDirectory(prefix="cmonlab-bench-") as folder:
        ready = Path(folder, "ready")
        command = [sys.executable, "-m", "cmonlab", "agent", "--ready-file", str(ready)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + _READY_S
            while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            with agents.connect() as client:
                yield process.pid, client
        finally:
            process.terminate()
            process.wait(30)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def idle(pid: int, seconds: float) -> float:
    """Return the share of one core that a process uses in the next seconds."""
    began, used = time.monotonic(), _cpu_s(pid)
    time.sleep(seconds)
    return (_cpu_s(pid) - used) / (time.monotonic() - began)


def first_event_s(client: Client, name: str) -> float:
    """Return the seconds from the request of a rule to its first event."""
    came: list[float] = []
    subject = protocol.subject(client.host, "events")
    listening = client._transport.subscribe(subject, lambda _: came.append(time.monotonic()))
    try:
        began = time.monotonic()
        client.apply(Rule(name=name, match=f"udp port {PORT}"))
        while not came and time.monotonic() - began < 30:
            time.sleep(0.002)
        return came[0] - began if came else float("nan")
    finally:
        listening.close()
        client.remove(name)


def change_s(client: Client, number: int) -> float:
    """Return the seconds that the agent needs to activate another rule in addition to the others."""
    rule = Rule(name="changing", match=f"tcp port {PORT + number + 1}", points=["path", "socket"])
    began = time.monotonic()
    client.apply(rule)
    return time.monotonic() - began


def run(rounds: int, budget_s: float) -> Outcome:
    """Start an agent and measure it; no other agent may be running."""
    outcome = Outcome()
    seconds = max(1.0, budget_s / 3 / rounds)
    with agent() as (pid, client):
        outcome.judge("agent idle", [idle(pid, seconds) for _ in range(rounds)])
        with testbed() as lab, ping_pong(lab, "udp"):
            outcome.judge("agent first", [first_event_s(client, f"r{number}") for number in range(rounds)])
            client.apply(Rule(name="everyone", match="", mode="aggregate"))
            outcome.judge("agent change", [change_s(client, number) for number in range(rounds)])
            time.sleep(2)  # two windows of aggregates
        outcome.judge("agent memory", [_resident_mib(pid)])
    return outcome
