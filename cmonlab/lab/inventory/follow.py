"""One network namespace, followed through its own netlink socket (rtnetlink(7))."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from functools import lru_cache
from typing import Any

from ..netns import inside
from .interfaces import Interfaces

_LINKS, _ADDRESSES = 1, 2
_NEWLINK, _DELLINK = 16, 17
_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_MULTI = 0x2
_REQUEST_DUMP = 0x1 | 0x300
# Hundreds of containers that end at once cause thousands of messages of about 2 KiB.
_BUFFER_BYTES = 8 << 20


class Followed:
    """A namespace whose interfaces are followed until `close`.

    The socket is opened inside the namespace and keeps it: until the socket is closed no other namespace gets this
    inode number. Threads in any namespace can read it.

    Parameters
    ----------
    handle : int
        File descriptor of the namespace; the caller may close it afterwards.
    since_ns : int
        ``from_ns`` (CLOCK_MONOTONIC) of the interfaces that exist now or appear before `mark_started`; 0: always.

    Attributes
    ----------
    netns : int
        Inode number.
    interfaces : Interfaces

    Raises
    ------
    NotTraceable
        This user may not enter the namespace.
    """

    def __init__(self, handle: int, since_ns: int):
        self.netns = os.fstat(handle).st_ino
        self.interfaces = Interfaces(self.netns)
        self._socket = inside(handle, _open)
        self._since_ns: int | None = since_ns
        self._incomplete = False
        self._dump()
        self.read()

    def mark_started(self) -> None:
        """Take the time of its message as ``from_ns`` of every interface that appears from now on."""
        self._since_ns = None

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when it is closed."""
        return self._socket.fileno()

    def _dump(self) -> None:
        self.interfaces.begin()
        self._request(_LINKS)

    def _request(self, what: int) -> None:
        self._socket.send(_request(what))

    def read(self) -> list[Any]:
        """Read all waiting messages; return the kernel's notifications among them.

        The kernel answers a request at once, so a requested dump is complete afterwards, too.
        """
        notified = []
        while self.fileno() >= 0:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # Messages were lost: request everything again, after the dump under way has ended.
                self._incomplete = True
                if not self.interfaces.dumping:
                    self._repeat()
                continue
            kind, family = struct.unpack_from("=4xH10xB", data)
            if kind in (_NEWLINK, _DELLINK) and family:
                continue  # AF_BRIDGE: about a port of a bridge; the interface itself has not changed
            for message in _marshal().parse(data):
                if self._take(message):
                    notified.append(message)
        return notified

    def _take(self, message: Any) -> bool:
        """Process one message; return whether it is a notification of an interface."""
        header, now_ns = message["header"], time.monotonic_ns()
        if header["error"] is not None:
            raise header["error"]
        if message.get("event") == "NLMSG_DONE":
            if header["sequence_number"] == _LINKS:
                self._request(_ADDRESSES)
            else:
                self.interfaces.end(now_ns)
                if self._incomplete:
                    self._repeat()
        elif message.get("event") in ("RTM_NEWLINK", "RTM_DELLINK", "RTM_NEWADDR", "RTM_DELADDR"):
            self.interfaces.take(message, now_ns, self._since_ns)
            return not header["flags"] & _MULTI
        return False

    def _repeat(self) -> None:
        self._incomplete = False
        self._dump()

    def close(self) -> None:
        """Release the namespace and keep `interfaces`. Idempotent."""
        self._socket.close()


def _open() -> socket.socket:
    made = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    try:
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except PermissionError:  # with the usual size messages are lost sooner, and requested again
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        made.bind((0, _GROUPS))
    except BaseException:
        made.close()
        raise
    return made


_SO_RCVBUFFORCE = 33


@lru_cache(maxsize=1)
def _marshal() -> Any:
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl

    return MarshalRtnl()


@lru_cache(maxsize=2)
def _request(what: int) -> bytes:
    """Return the request of a dump; its sequence number says of what."""
    from pyroute2.netlink import rtnl
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    message = ifinfmsg() if what == _LINKS else ifaddrmsg()
    message["header"]["type"] = rtnl.RTM_GETLINK if what == _LINKS else rtnl.RTM_GETADDR
    message["header"]["flags"] = _REQUEST_DUMP
    message["header"]["sequence_number"] = what
    message.encode()
    return bytes(message.data)
