"""A command that runs in a container: its output, its exit code, its end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cmonlab.errors import CmonlabError, DockerError

from .client import docker_errors

if TYPE_CHECKING:
    from .client import DockerClient

_START_DEADLINE_S = 10.0


class Process:
    """A command started with ``docker exec``; a thread collects its output.

    Parameters
    ----------
    client : docker.DockerClient
    container : str
        Short name of the container.
    container_id : str
        The engine's id of the container.
    argv : list of str
        The command.
    user : str, optional
        Run as this user, by default root.

    Attributes
    ----------
    container : str
        Short name of the container.
    argv : list of str
        The command.

    Raises
    ------
    DockerError
        The engine refused.
    """

    def __init__(self, client: DockerClient, container: str, container_id: str, argv: list[str], user: str | None):
        self.container, self.argv = container, list(argv)
        self._api = client.api
        self._chunks: list[tuple[bool, bytes]] = []
        self._ended = threading.Event()
        self._exit_code: int | None = None
        with docker_errors(f"cannot run {argv[0]} in {container}"):
            self._id = self._api.exec_create(container_id, self.argv, user=user or "")["Id"]
            self._stream = self._api.exec_start(self._id, stream=True, demux=True)
        self._thread = threading.Thread(target=self._read, name=f"cmonlab-{container}-{argv[0]}", daemon=True)
        self._thread.start()
        # The engine answers before the process runs, and a process that does not run yet cannot be stopped.
        self._poll(lambda state: state["Pid"] or _has_ended(state), _START_DEADLINE_S)

    def _inspect(self) -> dict[str, Any]:
        with docker_errors(f"cannot ask for {self.argv[0]} in {self.container}"):
            return self._api.exec_inspect(self._id)

    def _poll(self, condition: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any] | None:
        """Return the inspection as soon as it meets a condition, None if it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition(state := self._inspect()):
            if time.monotonic() > deadline:
                return None
            time.sleep(0.005)
        return state

    def _read(self) -> None:
        try:
            for out, err in self._stream:
                self._chunks += [(kind, data) for kind, data in ((True, out), (False, err)) if data]
        except Exception as error:  # the container or the engine has ended
            self._chunks.append((False, f"\n[output lost: {error}]".encode()))
        try:
            # The stream ends a little before the engine knows the exit code.
            self._end(self._poll(_has_ended, _START_DEADLINE_S))
        except CmonlabError as error:
            self._chunks.append((False, f"\n[exit code lost: {error}]".encode()))
            self._end(None)

    def _end(self, state: dict[str, Any] | None) -> None:
        if not self._ended.is_set():
            self._exit_code = state["ExitCode"] if state else -1
            self._ended.set()

    @property
    def stdout(self) -> str:
        """Standard output so far."""
        return b"".join(data for kind, data in self._chunks if kind).decode(errors="replace")

    @property
    def output(self) -> str:
        """Standard output and standard error so far, in the order in which they arrived."""
        return b"".join(data for _, data in self._chunks).decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the command still runs."""
        return not self._ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """Exit code, None while the command runs, -1 if the code was lost."""
        return self._exit_code if self._ended.is_set() else None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until the command ends, at most for a time in s; return the exit code, None if it still runs."""
        self._ended.wait(timeout_s)
        return self.exit_code

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the command: SIGTERM, after ``timeout_s`` SIGKILL. Idempotent.

        Raises
        ------
        DockerError
            The command does not end.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running or not self._signal(number):
                return
            # Not `wait`: a child that the command leaves behind may keep its output open.
            state = self._poll(_has_ended, timeout_s)
            if state is not None:
                self._end(state)
                return
        raise DockerError(f"{self.argv[0]} in {self.container} does not end")

    def _signal(self, number: int) -> bool:
        """Send a signal to the process itself; return False if it has ended."""
        state = self._inspect()
        if _has_ended(state) or not state["Pid"]:
            self._end(state)
            return False
        try:
            # A pidfd names this process even after its pid is reused.
            handle = os.pidfd_open(state["Pid"])
        except ProcessLookupError:
            return True
        try:
            if self._inspect()["Running"]:
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass  # it ended after the inspection; the next one will show that
        finally:
            os.close(handle)
        return True


def _has_ended(state: dict[str, Any]) -> bool:
    return not state["Running"] and state["ExitCode"] is not None
