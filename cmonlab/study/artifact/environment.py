"""What an artifact was made with: this Python's distributions, this machine, the packages of its sessions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from cmonlab.system import host as manifest

_MACHINE = ("kernel", "distribution", "machine", "cpu", "cpus", "python", "git_revision")


def lock(manifests: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return what is installed here.

    Parameters
    ----------
    manifests : iterable of mapping
        Of sessions: they tell which of the distribution's packages (bcc, the engine, workloads) they were made with.

    Returns
    -------
    dict
        ``machine``, ``distributions`` (name → version and sha256 over its installed files) and ``packages``.
    """
    host = manifest.host()
    packages: dict[str, set[str]] = {}
    for one in manifests:
        for name, version in (one.get("packages") or {}).items():
            packages.setdefault(name, set()).add(str(version))
    return {
        "machine": {name: host.get(name) for name in _MACHINE},
        "distributions": _distributions(),
        "packages": {name: sorted(versions) for name, versions in sorted(packages.items())},
    }


def _distributions() -> dict[str, dict[str, str | None]]:
    found = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:
            # Of two of a name the first is what gets imported.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), {"version": one.version, "sha256": _digest(one)})
    return dict(sorted(found.items()))


def _digest(distribution: metadata.Distribution) -> str | None:
    """Return a digest over the files of a distribution, as its record has them; None where they are not recorded.

    Left out is what depends on the place: scripts, compiled files, the installer's notes.
    """
    lines = sorted(
        f"{file},{file.hash.value}"
        for file in distribution.files or ()
        if file.hash and ".." not in file.parts and ".dist-info" not in file.parts[0] and file.suffix != ".pyc"
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def requirements(locked: Mapping[str, Any]) -> str:
    """Return the distributions as a file for ``pip install -r``; cmonlab itself comes from its checkout."""
    revision = locked["machine"].get("git_revision")
    lines = [f"# Python {locked['machine']['python']}, cmonlab at {revision or 'no revision of a checkout'}"]
    for name, entry in locked["distributions"].items():
        comment = "# " if name == "cmonlab" else ""
        lines.append(f"{comment}{name}=={entry['version']}")
    return "\n".join(lines) + "\n"


def changes(packed: Mapping[str, Any], here: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what differs between two environments: name, then, now."""
    told = [
        (name, _shown(packed["machine"].get(name)), _shown(here["machine"].get(name)))
        for name in _MACHINE
        if packed["machine"].get(name) != here["machine"].get(name)
    ]
    then, now = packed["distributions"], here["distributions"]
    for name in sorted(then.keys() | now.keys()):
        a, b = then.get(name), now.get(name)
        if a is None or b is None or a["version"] != b["version"]:
            told.append((name, a["version"] if a else "absent", b["version"] if b else "absent"))
        elif a["sha256"] and b["sha256"] and a["sha256"] != b["sha256"]:
            told.append((name, f"{a['version']} {a['sha256'][:12]}", f"{b['version']} {b['sha256'][:12]}: other files"))
    return told


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)
