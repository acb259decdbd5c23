"""Put back what a Docker engine of our own changes in the host's packet filter.

dockerd adds chains, sets the policy of FORWARD to DROP and switches forwarding on, and
leaves all three behind when it ends.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

_SYSCTLS = ("net/ipv4/ip_forward",)
_TOOLS = ("iptables", "ip6tables")
_DOCKERS = re.compile(r"\bDOCKER|\bbr-[0-9a-f]{12}\b")


def _saved(tool: str) -> str:
    try:
        return subprocess.run([f"{tool}-save"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def parse(text: str) -> dict[str, dict]:
    """Return table → policies, chains and rules of ``iptables-save`` text."""
    tables: dict[str, dict] = {}
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
    """Note the state before an engine starts; an older note (of a crash) stays."""
    if path.exists():
        return
    state = {"sysctls": {name: Path("/proc/sys", name).read_text().strip() for name in _SYSCTLS}}
    state |= {tool: parse(_saved(tool)) for tool in _TOOLS}
    path.write_text(json.dumps(state))


def restore(path: Path) -> None:
    """Undo what the engine did since `save`, unless another engine runs by now."""
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


def undo(before: dict[str, dict], now: dict[str, dict]) -> list[list[str]]:
    """Return the ``iptables`` argument lists that take Docker's changes back.

    Only chains and rules that name Docker's own are touched, so what somebody else
    added meanwhile stays.
    """
    empty: dict = {"policies": {}, "chains": [], "rules": []}
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
    """Tell whether a dockerd runs in our network namespace."""
    ours = Path("/proc/self/ns/net").stat().st_ino
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == "dockerd" and (entry / "ns/net").stat().st_ino == ours:
                return True
        except OSError:
            continue  # it ended meanwhile
    return False
