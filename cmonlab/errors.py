"""Every error that cmonlab raises on purpose.

::

    CmonlabError
    ├── NotTraceable      this host cannot trace: no root, no BTF, no bcc
    ├── DockerError       no engine, or the engine refused
    ├── RuleError         a rule does not parse
    ├── ProbeError        a point of one's own is wrong, or its C code is
    ├── TopologyError     a description that cannot be
    ├── UnknownName       no template, workload, container, point or column of that name
    ├── SessionError      a session directory is missing, damaged or in the way
    ├── ExportError       a session or a figure cannot be written in another format
    ├── ArtifactError     an archive of a project is damaged, unsafe or cannot be made
    ├── PageError         the dashboard's page cannot be served
    ├── TransportError    messages between processes do not get through
    └── WorkloadError     a workload could not run or failed

A message says what happened, why, and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CmonlabError(Exception):
    """Root of all errors that cmonlab raises on purpose.

    Parameters
    ----------
    what : str
        What went wrong.
    why : str, optional
        The cause, as far as it is known.
    fix : str, optional
        What the user can do about it.
    """

    def __init__(self, what: str, *, why: str = "", fix: str = ""):
        self.what, self.why, self.fix = what, why, fix
        parts = [what, f"why: {why}" if why else "", f"fix: {fix}" if fix else ""]
        super().__init__("\n  ".join(part for part in parts if part))


class NotTraceable(CmonlabError):
    """This host, or this user on it, cannot trace."""


class DockerError(CmonlabError):
    """No Docker engine answers, or it refused."""


class RuleError(CmonlabError):
    """A rule does not parse."""


class ProbeError(CmonlabError):
    """A point of one's own is wrong, or its C code does not compile or is refused by the kernel."""


class SessionError(CmonlabError):
    """A session directory is missing, damaged or in the way."""


class ExportError(CmonlabError):
    """A session, or a table of it, cannot be written in another format."""


class ArtifactError(CmonlabError):
    """An artifact is damaged, unsafe to unpack, or cannot be made."""


class TopologyError(CmonlabError):
    """A topology is described in a way that cannot be."""


class PageError(CmonlabError):
    """The dashboard's page cannot be served."""


class TransportError(CmonlabError):
    """A message does not get through to the other process."""


class WorkloadError(CmonlabError):
    """A workload could not run, or failed."""


class UnknownName(CmonlabError):
    """A name that is not among the valid ones; the message suggests the nearest.

    Parameters
    ----------
    kind : str
        What the name should have named, for instance ``"template"``.
    name : str
        The name as given.
    known : iterable of str
        The valid names.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}", fix=f"{fix}known: {', '.join(known) or '(none)'}")
