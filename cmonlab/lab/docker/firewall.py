"""Undo what cmonlab's own Docker engine changes in the host's packet filter.

dockerd adds chains, sets the policy of FORWARD to DROP and switches forwarding on, and undoes none of that when it
ends.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import TypedDict

_SYSCTLS = ("net/ipv4/ip_forward",)
_TOOLS = ("iptables", "ip6tables")
_DOCKERS = re.compile(r"\bDOCKER|\bbr-[0-9a-f]{12}\b")


class Table(TypedDict):
    """A table of iptables: chain → policy, names of chains, and rules as ``iptables-save`` writes them."""

    policies: dict[str, str]
    chains: list[str]
    rules: list[str]


def _saved(tool: str) -> str:
    try:
        return subprocess.run([f"{tool}-save"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def parse(text: str) -> dict[str, Table]:
    """Return the tables in the output of ``iptables-save``, by name."""
    tables: dict[str, Table] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = tables[line[1:]] = {"policies": {}, "chains": [], "rules": []}
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            table["chains"].append(name)
            if policy != "-":
                table["policies"][name] = policy
        elif line.startswith("-A "):
            table["rules"].append(line)
    return tables


def save(path: Path) -> None:
    """Write the state to a file before the engine starts; keep a file that a crashed engine left."""
    if path.exists():
        return
    sysctls = {name: Path("/proc/sys", name).read_text().strip() for name in _SYSCTLS}
    path.write_text(json.dumps({"sysctls": sysctls} | {tool: parse(_saved(tool)) for tool in _TOOLS}))


def restore(path: Path) -> None:
    """Undo what the engine changed since `save`, unless another engine runs now."""
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        return
    path.unlink()
    if _other_engine():
        return
    for tool in _TOOLS:
        for arguments in undo(before[tool], parse(_saved(tool))):
            subprocess.run([tool, *arguments], capture_output=True, check=False)
    for name, value in before["sysctls"].items():
        Path("/proc/sys", name).write_text(value)


def undo(before: dict[str, Table], now: dict[str, Table]) -> list[list[str]]:
    """Return the arguments of ``iptables`` that undo Docker's changes.

    Only Docker's chains, and rules that name them or its bridges, are removed; what others added meanwhile stays.

    Parameters
    ----------
    before, now : dict of str to Table
        The tables before the engine started and as they are.

    Returns
    -------
    list of list of str
        One argument list per call, in the order of the calls.
    """
    empty: Table = {"policies": {}, "chains": [], "rules": []}
    commands: list[list[str]] = []
    for table, state in now.items():
        old = before.get(table, empty)
        chains = [name for name in state["chains"] if name.startswith("DOCKER") and name not in old["chains"]]
        for rule in state["rules"]:
            if rule not in old["rules"] and _DOCKERS.search(rule) and rule.split()[1] not in chains:
                commands.append(["-t", table, "-D", *shlex.split(rule)[1:]])
        commands += [["-t", table, "-F", name] for name in chains]
        commands += [["-t", table, "-X", name] for name in chains]
        policy = old["policies"].get("FORWARD", "ACCEPT")
        if state["policies"].get("FORWARD", policy) != policy:
            commands.append(["-t", table, "-P", "FORWARD", policy])
    return commands


def _other_engine() -> bool:
    """Return whether a dockerd runs in our network namespace."""
    ours = Path("/proc/self/ns/net").stat().st_ino
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == "dockerd" and (entry / "ns/net").stat().st_ino == ours:
                return True
        except OSError:
            continue  # it ended meanwhile
    return False
