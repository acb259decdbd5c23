"""All followed namespaces, in one thread that waits for the kernel's notifications."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any

from .follow import Followed

Notice = Callable[[set[int], set[int]], None]


class Watch:
    """Follows the interfaces of network namespaces.

    A namespace costs one file descriptor and no thread; nothing is polled.

    Parameters
    ----------
    lock : threading.RLock
        Held while messages are taken; hold it to look at `followed`.
    notice : callable
        Called without the lock, with the inode numbers of namespaces in which an
        interface or address changed, and of those that an interface left for another.

    Attributes
    ----------
    followed : dict of int to Followed
        By inode number; after `close` as it was last.
    error : str
        Why a namespace is not followed any more, empty while all are.
    """

    def __init__(self, lock: threading.RLock, notice: Notice):
        self.followed: dict[int, Followed] = {}
        self.error = ""
        self._lock, self._notice = lock, notice
        self._epoll, self._wake = select.epoll(), os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._by_file: dict[int, Followed] = {}
        self._changed: set[int] = set()
        self._left: set[int] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="cmonlab-netlink", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def follow(self, handle: int, since_ns: int) -> int:
        """Follow the namespace of a file descriptor; return its inode number.

        What comes there until `settle` counts from `since_ns`: of a container that is
        being started we may hear late, but no packet passes before its program runs.

        Raises
        ------
        NotTraceable
            This user may not enter it.
        """
        netns = os.fstat(handle).st_ino
        if netns in self.followed:
            return netns
        # Not under the lock: the kernel lets us wait while it adds or moves an interface.
        followed = Followed(handle, since_ns)
        with self._lock:
            if netns in self.followed:
                followed.close()
            else:
                self.followed[netns] = self._by_file[followed.fileno()] = followed
                self._epoll.register(followed, select.EPOLLIN)
        return netns

    def settle(self, netns: int) -> None:
        """Take what a namespace has to tell; what comes later counts from when it comes."""
        with self._lock:
            if (followed := self.followed.get(netns)) is not None and followed.fileno() >= 0:
                if self._read([followed]):
                    os.eventfd_write(self._wake, 1)
                followed.settle()

    def release(self, netns: int) -> None:
        """Follow a namespace no more, forget its interfaces and let it go."""
        with self._lock:
            self._drop(self.followed.pop(netns))

    def _drop(self, followed: Followed) -> None:
        if self._by_file.pop(followed.fileno(), None) is not None:
            self._epoll.unregister(followed)
        followed.close()

    def sync(self) -> None:
        """Take all messages that the kernel has sent until now; `notice` follows in its thread."""
        with self._lock:
            if self._by_file and self._read(list(self._by_file.values())):
                os.eventfd_write(self._wake, 1)

    def _read(self, ready: list[Followed]) -> bool:
        """Take what these namespaces have to tell; return whether it is anything. The lock must be held."""
        for followed in ready:
            try:
                messages = followed.read()
            except Exception as error:  # the others are followed on; this one stays as it is
                self.error = f"namespace {followed.netns}: {type(error).__name__}: {error}"
                self._drop(followed)
                continue
            if messages:
                self._changed.add(followed.netns)
                if any(map(_leaves, messages)):
                    self._left.add(followed.netns)
        return bool(self._changed)

    def _run(self) -> None:
        while not self._closing:
            files = [file for file, _ in self._epoll.poll()]
            with self._lock:
                if self._wake in files:
                    os.eventfd_read(self._wake)
                self._read([self._by_file[file] for file in files if file in self._by_file])
                changed, left, self._changed, self._left = self._changed, self._left, set(), set()
            if changed:
                self._notice(changed, left)

    def stop(self) -> None:
        """Stop the thread: no notice comes any more. May be called twice."""
        if self._epoll.closed or self._closing:
            return
        self._closing = True
        os.eventfd_write(self._wake, 1)
        if self._thread.ident is not None:
            self._thread.join()

    def close(self) -> None:
        """Stop and let all namespaces go; what was seen stays. May be called twice."""
        self.stop()
        if self._epoll.closed:
            return
        with self._lock:
            for followed in self.followed.values():
                self._drop(followed)
        self._epoll.close()
        os.close(self._wake)


def _leaves(message: Any) -> bool:
    return message["event"] == "RTM_DELLINK" and message.get_attr("IFLA_NEW_NETNSID") is not None
