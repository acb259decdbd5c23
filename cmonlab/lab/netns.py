"""Network namespaces: keep one open, find a container's, run code in one."""

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
#: What reading /proc raises when the process has ended.
GONE = (FileNotFoundError, ProcessLookupError)

Result = TypeVar("Result")


def open_namespace(pid: int) -> int:
    """Return a file descriptor of a process's network namespace (network_namespaces(7)).

    While it is open the namespace exists, and no other one gets its inode number.

    Raises
    ------
    NotTraceable
        This user may not open the process's namespace.
    FileNotFoundError, ProcessLookupError
        The process has ended.
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


def inside(handle: int, function: Callable[[], Result]) -> Result:
    """Call a function in a network namespace, in a new thread.

    Parameters
    ----------
    handle : int
        File descriptor of the namespace.
    function : callable
        Takes no arguments. What it raises is raised here.

    Returns
    -------
    object
        What the function returns.

    Raises
    ------
    NotTraceable
        This user may not enter the namespace.
    """

    def visit() -> Result:
        # A thread that is already in the namespace needs no privilege.
        if os.fstat(handle).st_ino != os.stat("/proc/thread-self/ns/net").st_ino:
            _enter(handle)
        return function()

    # setns(2) moves only the calling thread, which ends after the visit and never has to return.
    return in_own_thread(visit)


def in_own_thread(function: Callable[[], Result]) -> Result:
    """Call a function in a new thread; return what it returns and raise what it raises.

    Code that uses pyroute2's netlink sockets needs this: each call runs an event loop, and in a notebook the main
    thread runs one already.
    """
    results: list[Result] = []
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
    """Return the id of the container that a process is in, from its cgroup; empty if it is in none.

    For a container inside a container it is the outer one, which the host's engine knows.
    """
    with suppress(*GONE), open(f"/proc/{pid}/cgroup") as groups:
        found = _ID.search(groups.read())
        return found[0] if found else ""
    return ""


def find_containers(known: Collection[int]) -> dict[str, int]:
    """Find containers in new namespaces by their processes, before the engine reports them.

    A container's first process is in its namespace and cgroup before it runs the container's program. The engine
    reports its pid only afterwards.

    Parameters
    ----------
    known : collection of int
        Inode numbers of the namespaces that are not new.

    Returns
    -------
    dict of str to int
        Id of a container → pid of its first process in a new namespace.
    """
    found: dict[str, int] = {}
    for pid, netns in sorted(_processes()):
        if netns not in known and (container := container_of(pid)):
            found.setdefault(container, pid)
    return found


def first_process(netns: int, container: str) -> int:
    """Return the pid of a container's first process in a namespace, 0 if there is none.

    Parameters
    ----------
    netns : int
        Inode number of the namespace.
    container : str
        Id of the container.
    """
    return next((pid for pid, where in sorted(_processes()) if where == netns and container_of(pid) == container), 0)


def _processes() -> Iterator[tuple[int, int]]:
    """Yield the pid of each process and the inode number of its network namespace."""
    for name in os.listdir("/proc"):
        # On some machines even root may not read every process.
        with suppress(PermissionError, *GONE):
            if name.isdigit():
                yield int(name), os.stat(f"/proc/{name}/ns/net").st_ino
