"""A command that runs inside a container, seen from outside."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from cmonlab.errors import CmonlabError, DockerError

from .client import docker_errors

_START_DEADLINE_S = 10.0


class Process:
    """A command started with ``docker exec``; a thread collects its output.

    Attributes
    ----------
    container : str
        Short name of the container.
    argv : list of str
        The command.
    """

    def __init__(self, client, container: str, container_id: str, argv: list[str], user: str | None):
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
        # The engine answers before the process runs; until then it cannot be stopped.
        self._poll(lambda state: state["Pid"] or _has_ended(state), _START_DEADLINE_S)

    def _inspect(self) -> dict[str, Any]:
        with docker_errors(f"cannot ask for {self.argv[0]} in {self.container}"):
            return self._api.exec_inspect(self._id)

    def _poll(self, condition: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any] | None:
        """Return the engine's account once it meets a condition, None when it does not in time."""
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
        except Exception as error:  # the container or the engine went away below us
            self._chunks.append((False, f"\n[output lost: {error}]".encode()))
        try:
            # The stream ends a little before the engine has noted the exit code.
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
        """What it wrote to its standard output so far."""
        return b"".join(data for kind, data in self._chunks if kind).decode(errors="replace")

    @property
    def output(self) -> str:
        """What it wrote so far, standard output and error as they came."""
        return b"".join(data for _, data in self._chunks).decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return not self._ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """Exit code, None while it runs, -1 when it was lost."""
        return self._exit_code if self._ended.is_set() else None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until it ends; return the exit code, None when it still runs."""
        self._ended.wait(timeout_s)
        return self.exit_code

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it: SIGTERM, after ``timeout_s`` SIGKILL. May be called twice.

        Raises
        ------
        DockerError
            It does not end.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running or not self._signal(number):
                return
            # Not `wait`: a child that it leaves behind may keep its output open.
            state = self._poll(_has_ended, timeout_s)
            if state is not None:
                self._end(state)
                return
        raise DockerError(f"{self.argv[0]} in {self.container} does not end")

    def _signal(self, number: int) -> bool:
        """Send a signal to the process itself; False when it has ended."""
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
            pass  # it ended between the two; the engine will say so
        finally:
            os.close(handle)
        return True


def _has_ended(state: dict[str, Any]) -> bool:
    return not state["Running"] and state["ExitCode"] is not None
