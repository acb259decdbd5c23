"""Network namespaces: hold one open, find a container's, look into it."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from cmonlab.errors import NotTraceable

_CLONE_NEWNET = 0x40000000
_ID = re.compile(r"[0-9a-f]{64}")
# A process that went before it could be looked at.
GONE = (FileNotFoundError, ProcessLookupError)

Found = TypeVar("Found")


def open_namespace(pid: int) -> int:
    """Return a file descriptor of a process's network namespace.

    While it is open the namespace lives, and its inode number is given to no other.

    Raises
    ------
    NotTraceable
        This user may not look into the process.
    FileNotFoundError, ProcessLookupError
        The process is gone.
    """
    try:
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise _denied(str(error)) from error


@contextmanager
def namespace(pid: int) -> Iterator[int]:
    """Yield a file descriptor of a process's network namespace; see `open_namespace`."""
    handle = open_namespace(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def inside(handle: int, function: Callable[[], Found]) -> Found:
    """Call a function in the namespace of a file descriptor, in a thread of its own.

    Raises
    ------
    NotTraceable
        This user may not enter the namespace.
    """

    def visit() -> Found:
        # Where nothing needs to be entered, no privilege is needed either.
        if os.fstat(handle).st_ino != os.stat("/proc/thread-self/ns/net").st_ino:
            _enter(handle)
        return function()

    # setns() moves one thread only; this one ends with the visit and never goes back.
    return apart(visit)


def apart(function: Callable[[], Found]) -> Found:
    """Call a function in a thread of its own.

    What uses pyroute2's netlink sockets needs one: each call runs an event loop, and in a notebook the main
    thread runs one already.
    """
    results: list[Found] = []
    failures: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=call, name="cmonlab-netlink")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _enter(handle: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
        raise _denied(os.strerror(ctypes.get_errno()))


def _denied(why: str) -> NotTraceable:
    return NotTraceable("a network namespace cannot be entered", why=why, fix="run as root (sudo)")


def container_of(pid: int) -> str:
    """Return the id of the container that a process is in, from its cgroup; "" when none.

    Of containers in a container it is the outer one, which the engine here knows.
    """
    with suppress(*GONE), open(f"/proc/{pid}/cgroup") as groups:
        found = _ID.search(groups.read())
        return found[0] if found else ""
    return ""


def search(known: Collection[int]) -> dict[str, int]:
    """Find containers in new namespaces by their processes, before the engine tells of them.

    A container's first process sits in its namespace and cgroup before it runs the
    container's program, while the engine tells its pid only afterwards.

    Parameters
    ----------
    known : collection of int
        Inode numbers of namespaces that are not new.

    Returns
    -------
    dict of str to int
        Id of a container → pid of its first process in such a namespace.
    """
    found: dict[str, int] = {}
    for pid, netns in sorted(_processes()):
        if netns not in known and (container := container_of(pid)):
            found.setdefault(container, pid)
    return found


def first_of(netns: int, container: str) -> int:
    """Return the pid of a container's first process in a namespace, 0 when there is none."""
    return next((pid for pid, where in sorted(_processes()) if where == netns and container_of(pid) == container), 0)


def _processes() -> Iterator[tuple[int, int]]:
    """Yield the pid of each process and the inode number of its namespace."""
    for name in os.listdir("/proc"):
        # Some machines keep even root from a process of theirs.
        with suppress(PermissionError, *GONE):
            if name.isdigit():
                yield int(name), os.stat(f"/proc/{name}/ns/net").st_ino
