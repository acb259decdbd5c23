"""Errors that cmonlab raises on purpose; each class stands for one cause, so that callers can catch it.

::

    CmonlabError
    ├── NotTraceable      this host cannot trace: no root, no BTF, no bcc
    ├── DockerError       no Docker engine answers, or it refused a request
    ├── RuleError         a rule is not valid
    ├── ProbeError        a custom probe or its C code is not valid
    ├── TopologyError     a topology is not valid
    ├── UnknownName       no template, workload, container, point or column has this name
    ├── SessionError      a session directory is missing or damaged, or cannot be written
    ├── ExportError       a session or a figure cannot be written in another format
    ├── ArtifactError     an archive of a project is damaged or unsafe, or cannot be written
    ├── PageError         the dashboard's page cannot be served
    ├── TransportError    messages between processes are not delivered
    └── WorkloadError     a workload could not run, or failed

A message says what happened, why, and how to fix it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CmonlabError(Exception):
    """Base class of all errors that cmonlab raises on purpose.

    Parameters
    ----------
    what : str
        What went wrong.
    why : str, optional
        Cause, if it is known.
    fix : str, optional
        What the user can do.
    """

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        parts = [what, f"why: {why}" if why else "", f"fix: {fix}" if fix else ""]
        super().__init__("\n  ".join(part for part in parts if part))


class NotTraceable(CmonlabError):
    """This host, or this user on this host, cannot trace."""


class DockerError(CmonlabError):
    """No Docker engine answers, or it refused a request."""


class RuleError(CmonlabError):
    """A rule is not valid."""


class ProbeError(CmonlabError):
    """A custom probe is not valid, or its C code does not compile or is refused by the kernel."""


class SessionError(CmonlabError):
    """A session directory is missing or damaged, or cannot be written."""


class ExportError(CmonlabError):
    """A session, or a table of it, cannot be written in another format."""


class ArtifactError(CmonlabError):
    """An artifact is damaged or unsafe to unpack, or cannot be written."""


class TopologyError(CmonlabError):
    """The description of a topology is not valid."""


class PageError(CmonlabError):
    """The dashboard's page cannot be served."""


class TransportError(CmonlabError):
    """A message is not delivered to the other process."""


class WorkloadError(CmonlabError):
    """A workload could not run, or failed."""


class UnknownName(CmonlabError):
    """A name is not one of the valid names; the message suggests the most similar one.

    Parameters
    ----------
    kind : str
        Kind of thing that should have this name, for instance ``"template"``.
    name : str
        Name as the user wrote it.
    known : iterable of str
        Valid names.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}", fix=f"{fix}known: {', '.join(known) or '(none)'}")
