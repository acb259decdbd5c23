"""All followed namespaces, and the thread that waits for the kernel's notifications."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any

from .follow import Followed

#: Called with the namespaces in which something changed, and with those that an interface left.
NetlinkCallback = Callable[[set[int], set[int]], None]


class Watch:
    """Follows the interfaces of network namespaces.

    A namespace costs one file descriptor and no thread; nothing is polled.

    Parameters
    ----------
    lock : threading.RLock
        Held while messages are processed; hold it to read `followed`.
    on_netlink_event : callable
        Called without the lock, with the inode numbers of the namespaces in which an interface or address changed,
        and of those that an interface left for another one.

    Attributes
    ----------
    followed : dict of int to Followed
        By inode number; stays after `close`.
    error : str
        Why a namespace is not followed any more, empty while all are.
    """

    def __init__(self, lock: threading.RLock, on_netlink_event: NetlinkCallback):
        self.followed: dict[int, Followed] = {}
        self.error = ""
        self._lock, self._on_netlink_event = lock, on_netlink_event
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
        """Follow a namespace.

        Parameters
        ----------
        handle : int
            File descriptor of the namespace; the caller may close it afterwards.
        since_ns : int
            ``from_ns`` (CLOCK_MONOTONIC) of the interfaces that appear until `mark_started`. We may see a starting
            container late, but no packet passes its interfaces before its program runs.

        Returns
        -------
        int
            Inode number of the namespace.

        Raises
        ------
        NotTraceable
            This user may not enter the namespace.
        """
        netns = os.fstat(handle).st_ino
        if netns in self.followed:
            return netns
        # Not under the lock: this waits while the kernel adds or moves an interface.
        followed = Followed(handle, since_ns)
        with self._lock:
            if netns in self.followed:
                followed.close()
            else:
                self.followed[netns] = self._by_file[followed.fileno()] = followed
                self._epoll.register(followed, select.EPOLLIN)
        return netns

    def mark_started(self, netns: int) -> None:
        """Read a namespace's messages; interfaces that appear later have the time of their message as ``from_ns``."""
        with self._lock:
            if (followed := self.followed.get(netns)) is not None and followed.fileno() >= 0:
                if self._read([followed]):
                    os.eventfd_write(self._wake, 1)
                followed.mark_started()

    def release(self, netns: int) -> None:
        """Stop following a namespace, forget its interfaces and release it."""
        with self._lock:
            self._drop(self.followed.pop(netns))

    def _drop(self, followed: Followed) -> None:
        if self._by_file.pop(followed.fileno(), None) is not None:
            self._epoll.unregister(followed)
        followed.close()

    def sync(self) -> None:
        """Read all messages that the kernel has sent so far; the callback is called later, in the thread."""
        with self._lock:
            if self._by_file and self._read(list(self._by_file.values())):
                os.eventfd_write(self._wake, 1)

    def _read(self, ready: list[Followed]) -> bool:
        """Read the messages of these namespaces; return whether something changed. The caller must hold the lock."""
        for followed in ready:
            try:
                messages = followed.read()
            except Exception as error:  # this one keeps its last state, the others are still followed
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
                self._on_netlink_event(changed, left)

    def stop(self) -> None:
        """Stop the thread: the callback is not called any more. Idempotent."""
        if self._epoll.closed or self._closing:
            return
        self._closing = True
        os.eventfd_write(self._wake, 1)
        if self._thread.ident is not None:
            self._thread.join()

    def close(self) -> None:
        """Stop the thread and release all namespaces; `followed` stays. Idempotent."""
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
