"""Interfaces of network namespaces, read through netlink."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ..errors import NotTraceable

_CLONE_NEWNET = 0x40000000


@contextmanager
def namespace(pid: int) -> Iterator[int]:
    """Yield a file descriptor of a process's network namespace.

    While it is open the namespace lives, and its inode number is given to no other.
    """
    handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def links(namespaces: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the interfaces of several network namespaces.

    Parameters
    ----------
    namespaces : mapping of str to int
        Name → pid of a process in the namespace, for instance ``{"host": os.getpid(),
        "c0": 4711}``. Of two names for one namespace the first counts; a process that
        is gone is left out.

    Returns
    -------
    list of dict
        Rows of the table ``links`` (see `cmonlab.schema`), ordered by namespace as
        given, then by ifindex.

    Raises
    ------
    NotTraceable
        This user may not enter the namespaces.
    """
    with ExitStack() as stack:
        handles: dict[str, int] = {}
        for name, pid in namespaces.items():
            try:
                handles[name] = stack.enter_context(namespace(pid))
            except (FileNotFoundError, ProcessLookupError):
                continue
            except PermissionError as error:
                raise _denied(name, error) from error
        return read(handles)


def read(handles: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the interfaces of open namespaces: name → file descriptor."""
    rows: list[dict[str, Any]] = []
    failure: list[BaseException] = []

    def visit() -> None:
        try:
            rows.extend(_visit(handles))
        except BaseException as error:
            failure.append(error)

    # setns() moves one thread only; this one ends with the visit and never goes back.
    thread = threading.Thread(target=visit, name="cmonlab-links")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return rows


def _visit(handles: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    from pyroute2 import IPRoute

    libc = ctypes.CDLL(None, use_errno=True)
    seen: set[int] = set()
    for name, handle in handles.items():
        netns = os.fstat(handle).st_ino
        if netns in seen:
            continue
        seen.add(netns)
        # Where nothing needs to be entered, no privilege is needed either.
        if netns != os.stat("/proc/thread-self/ns/net").st_ino and libc.setns(handle, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise _denied(name, OSError(number, os.strerror(number)))
        with IPRoute() as netlink:
            addresses = _addresses(netlink)
            found = [_row(netns, name, link, addresses) for link in netlink.get_links()]
        yield from sorted(found, key=lambda row: row["ifindex"])


def _denied(name: str, error: OSError) -> NotTraceable:
    return NotTraceable(f"the network namespace of {name} cannot be entered", why=str(error), fix="run as root (sudo)")


def _addresses(netlink: Any) -> dict[int, list[str]]:
    """Return ifindex → IP addresses, in the kernel's order."""
    found: dict[int, list[str]] = {}
    for message in netlink.get_addr():
        # On a point-to-point link IFA_ADDRESS is the other end.
        address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        if address is not None:
            found.setdefault(message["index"], []).append(address)
    return found


def _row(netns: int, name: str, link: Any, addresses: dict[int, list[str]]) -> dict[str, Any]:
    info = link.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") if info is not None else None) or ""
    return {
        "netns": netns,
        "namespace": name,
        "ifindex": link["index"],
        "name": link.get_attr("IFLA_IFNAME"),
        "kind": kind,
        "master": link.get_attr("IFLA_MASTER") or 0,
        # For other kinds IFLA_LINK is the device below, not an other end.
        "peer": (link.get_attr("IFLA_LINK") or 0) if kind == "veth" else 0,
        "mtu": link.get_attr("IFLA_MTU") or 0,
        "mac": link.get_attr("IFLA_ADDRESS") or "",
        "addresses": addresses.get(link["index"], []),
    }
