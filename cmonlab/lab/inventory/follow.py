"""One network namespace, followed through a netlink socket of its own."""

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
# Hundreds of containers that go at once make thousands of messages of about 2 KiB.
_BUFFER_BYTES = 8 << 20


class Followed:
    """A namespace whose interfaces are followed until `close`.

    The socket, opened inside, holds the namespace: until it is closed no other gets
    this inode number. It works from any thread, which stays where it is.

    Parameters
    ----------
    handle : int
        File descriptor of the namespace; the caller may close it afterwards.
    since_ns : int
        From when interfaces that are there or come until `settle` count, 0 for ever.

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
        self._again = False
        self._dump()
        self.read()

    def settle(self) -> None:
        """Let interfaces that come from now on count from when they come."""
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
        """Take every message that waits; return what the kernel notified by itself.

        The kernel answers a request at once, so that afterwards a dump is complete too.
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
                # Messages were lost: ask for everything, when the dump under way has ended.
                self._again = True
                if not self.interfaces.dumping:
                    self._repeat()
                continue
            kind, family = struct.unpack_from("=4xH10xB", data)
            if kind in (_NEWLINK, _DELLINK) and family:
                continue  # about a bridge's port, which stays when it leaves the bridge
            for message in _marshal().parse(data):
                if self._take(message):
                    notified.append(message)
        return notified

    def _take(self, message: Any) -> bool:
        """Take one message; return whether it is a notification of an interface."""
        header, now_ns = message["header"], time.monotonic_ns()
        if header["error"] is not None:
            raise header["error"]
        if message.get("event") == "NLMSG_DONE":
            if header["sequence_number"] == _LINKS:
                self._request(_ADDRESSES)
            else:
                self.interfaces.end(now_ns)
                if self._again:
                    self._repeat()
        elif message.get("event") in ("RTM_NEWLINK", "RTM_DELLINK", "RTM_NEWADDR", "RTM_DELADDR"):
            self.interfaces.take(message, now_ns, self._since_ns)
            return not header["flags"] & _MULTI
        return False

    def _repeat(self) -> None:
        self._again = False
        self._dump()

    def close(self) -> None:
        """Let the namespace go; what was seen stays. May be called twice."""
        self._socket.close()


def _open() -> socket.socket:
    made = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    try:
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except PermissionError:  # with the usual size messages are lost sooner, and asked for again
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
    """Return the request of a dump, whose sequence number says of what."""
    from pyroute2.netlink import rtnl
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    message = ifinfmsg() if what == _LINKS else ifaddrmsg()
    message["header"]["type"] = rtnl.RTM_GETLINK if what == _LINKS else rtnl.RTM_GETADDR
    message["header"]["flags"] = _REQUEST_DUMP
    message["header"]["sequence_number"] = what
    message.encode()
    return bytes(message.data)
