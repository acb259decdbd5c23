"""A tracer as a program that runs while traffic flows."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmonlab.errors import CmonlabError

from ..traffic import until

READY_S, END_S = 30.0, 60.0


@dataclass(frozen=True)
class Account:
    """The account of a tracer's run.

    Attributes
    ----------
    events : int or None
        Its result, None if it had to be killed.
    lost : int or None
        What it lost, as far as it knows; None where it had to be killed.
    """

    events: int | None
    lost: int | None


@dataclass(frozen=True)
class Program:
    """How to run a tracer.

    Attributes
    ----------
    commands : sequence of sequence of str
        One a process.
    is_ready : callable
        Takes the process and what it has said so far, and returns whether it has started to trace.
    read : callable
        Takes what each process said, and returns events and lost events.
    """

    commands: Sequence[Sequence[str]]
    is_ready: Callable[[subprocess.Popen, str], bool]
    read: Callable[[list[str]], tuple[int, int]]


class Tracer:
    """A running tracer: a context manager that yields its processes' ids, with its `account` when it has ended.

    Parameters
    ----------
    program : Program
    scratch : Path
        An existing directory for what it says.

    Raises
    ------
    CmonlabError
        It ends before it looks, or does not begin in time; quotes what it said.
    """

    def __init__(self, program: Program, scratch: Path):
        self._program, self._scratch = program, scratch
        self._processes: list[subprocess.Popen] = []
        self.account: Account | None = None

    def __enter__(self) -> list[int]:
        try:
            for number, command in enumerate(self._program.commands):
                with open(self._said(number), "wb") as said:
                    self._processes.append(
                        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
                    )
            for number, process in enumerate(self._processes):
                until(lambda n=number, p=process: self._is_ready(n, p), f"{process.args[0]} to look", READY_S)
        except BaseException:
            self._kill()
            raise
        return [process.pid for process in self._processes]

    def _said(self, number: int) -> Path:
        return self._scratch / f"said-{number}"

    def _is_ready(self, number: int, process: subprocess.Popen) -> bool:
        said = self._said(number).read_text(errors="replace")
        if process.poll() is not None:
            words = " ".join(process.args)
            raise CmonlabError(f"`{words[:80]}` ended with status {process.returncode}", why=said[-300:].strip())
        return self._program.is_ready(process, said)

    def __exit__(self, *_exc: object) -> None:
        try:
            for process in self._processes:
                process.send_signal(signal.SIGINT)
            for process in self._processes:
                process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.account = Account(None, None)
        else:
            said = [self._said(number).read_text(errors="replace") for number in range(len(self._processes))]
            self.account = Account(*self._program.read(said))
        finally:
            self._kill()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def perf_events(process: subprocess.Popen) -> int:
    """Return how many perf events a process has open: one per tracepoint (and CPU) that it is attached to."""
    found = 0
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            found += os.readlink(link) == "anon_inode:[perf_event]"
        except OSError:  # closed in the meantime
            continue
    return found
