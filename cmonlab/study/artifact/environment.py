"""The environment of an artifact: Python distributions, machine, and packages of its sessions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from cmonlab.system.host import host

_MACHINE = ("kernel", "distribution", "machine", "cpu", "cpus", "python", "git_revision")


def lock(manifests: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return what is installed on this machine.

    Parameters
    ----------
    manifests : iterable of mapping
        Manifests of sessions, which name the system packages (bcc, Docker engine, workloads) they were recorded with.

    Returns
    -------
    dict
        ``machine``, ``distributions`` (name → version and sha256 over its installed files) and ``packages``.
    """
    here = host()
    packages: dict[str, set[str]] = {}
    for one in manifests:
        for name, version in (one.get("packages") or {}).items():
            packages.setdefault(name, set()).add(str(version))
    return {
        "machine": {name: here.get(name) for name in _MACHINE},
        "distributions": _distributions(),
        "packages": {name: sorted(versions) for name, versions in sorted(packages.items())},
    }


def _distributions() -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:
            # Python imports the first of two distributions with the same name.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), {"version": one.version, "sha256": _digest(one)})
    return dict(sorted(found.items()))


def _digest(distribution: metadata.Distribution) -> str | None:
    """Return a digest over the files that a distribution's RECORD lists; None if it lists none.

    Files that depend on the place of installation are left out: scripts, compiled files, metadata of the installer.
    """
    lines = sorted(
        f"{file},{file.hash.value}"
        for file in distribution.files or ()
        if file.hash and ".." not in file.parts and ".dist-info" not in file.parts[0] and file.suffix != ".pyc"
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def requirements(locked: Mapping[str, Any]) -> str:
    """Return the distributions as text for ``pip install -r``; cmonlab is commented out, it comes from its checkout."""
    revision = locked["machine"].get("git_revision")
    lines = [f"# Python {locked['machine']['python']}, cmonlab at {revision or 'no revision of a checkout'}"]
    for name, entry in locked["distributions"].items():
        comment = "# " if name == "cmonlab" else ""
        lines.append(f"{comment}{name}=={entry['version']}")
    return "\n".join(lines) + "\n"


def changes(packed: Mapping[str, Any], here: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what differs between two environments.

    Parameters
    ----------
    packed, here : mapping
        From `lock`.

    Returns
    -------
    list of (str, str, str)
        Name, version or value when packed, version or value now.
    """
    found = [
        (name, _shown(packed["machine"].get(name)), _shown(here["machine"].get(name)))
        for name in _MACHINE
        if packed["machine"].get(name) != here["machine"].get(name)
    ]
    then, now = packed["distributions"], here["distributions"]
    for name in sorted(then.keys() | now.keys()):
        a, b = then.get(name), now.get(name)
        if a is None or b is None or a["version"] != b["version"]:
            found.append((name, a["version"] if a else "absent", b["version"] if b else "absent"))
        elif a["sha256"] and b["sha256"] and a["sha256"] != b["sha256"]:
            found.append(
                (name, f"{a['version']} {a['sha256'][:12]}", f"{b['version']} {b['sha256'][:12]}: other files")
            )
    return found


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)
