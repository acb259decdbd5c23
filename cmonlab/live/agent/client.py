"""The client of an agent: change its rules, follow what it measures, record a session."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
import pandas as pd

from cmonlab.data.store import directory
from cmonlab.data.store.cells import columns_of as cell_columns
from cmonlab.errors import SessionError, TransportError
from cmonlab.progress import Progress, shown
from cmonlab.rules import Rule, parse_rules
from cmonlab.session.session import Session

from ..transport import Message, Transport
from . import protocol
from .windows import Windows

_ANSWER_S = 15.0
_HELLO_S = 3.0


class Client:
    """Controls one agent, in this process or on another host; a context manager that owns its transport.

    Parameters
    ----------
    transport : Transport
        Connects to the agent; closed with the client.
    host : str, optional
        Name of the host whose agent is wanted; by default the agent that answers first.
    close : callable, optional
        Called before the transport is closed, for instance to stop an agent in this process.

    Attributes
    ----------
    host : str
        The agent's host, as it is written in subjects.

    Raises
    ------
    TransportError
        No agent answers.
    """

    def __init__(self, transport: Transport, host: str = "", close: Callable[[], None] | None = None):
        self._stack = ExitStack()
        self._stack.callback(transport.close)
        if close:
            self._stack.callback(close)
        self._transport = transport
        try:
            self.host = protocol.host_word(host) if host else self._hello()
        except BaseException:
            self._stack.close()
            raise

    def _hello(self) -> str:
        try:
            return str(protocol.unpack(self._transport.request(protocol.HELLO, b"null", _HELLO_S))["host"])
        except TransportError as error:
            raise TransportError("no agent answers", why=error.what, fix="start `cmonlab agent`") from error

    def _ask(self, word: str, question: Any = None) -> Any:
        return protocol.unpack(
            self._transport.request(protocol.subject(self.host, word), protocol.pack(question), _ANSWER_S)
        )

    def __repr__(self) -> str:
        return f"<agent of {self.host}>"

    # ---- rules -----------------------------------------------------------------

    def apply(self, rules: Rule | Sequence[Rule], replace: bool = False) -> int:
        """Add rules; a rule replaces an active one of the same name.

        Parameters
        ----------
        rules : Rule or sequence of Rule
            The rules to make active.
        replace : bool
            End all other rules.

        Returns
        -------
        int
            The first epoch with these rules.

        Raises
        ------
        RuleError, NotTraceable
            The rules cannot be active; the active rules stay as they are.
        TransportError
            The agent does not answer.
        """
        written = [rule.model_dump(mode="json") for rule in ([rules] if isinstance(rules, Rule) else rules)]
        return int(self._ask("apply", {"rules": written, "replace": replace})["epoch"])

    def remove(self, *names: str) -> int:
        """End the rules of these names; return the first epoch without them.

        Raises
        ------
        UnknownName
            No rule of that name is active.
        TransportError
            The agent does not answer.
        """
        return int(self._ask("remove", {"names": list(names)})["epoch"])

    def rules(self) -> pd.DataFrame:
        """Return the active rules; columns of ``schema.describe("active_rules")``."""
        rows = []
        for row in self._ask("rules"):
            rule, budget = row["rule"], row["budget"] or {}
            rows.append(
                {
                    "name": row["name"],
                    "mode": rule["mode"],
                    "expression": rule["match"]["packets"],
                    "points": len(row["points"]),
                    "sample": budget.get("sample", rule["sample"]),
                    "since_epoch": row["since_epoch"],
                    "seconds_left": row["seconds_left"],
                    "hops": row["hops"],
                    "max_overhead": budget.get("max_overhead", ""),
                    "overhead": budget.get("overhead", ""),
                }
            )
        names = [
            "name",
            "mode",
            "expression",
            "points",
            "sample",
            "since_epoch",
            "seconds_left",
            "hops",
            "max_overhead",
            "overhead",
        ]
        return pd.DataFrame(rows, columns=names)

    def written_rules(self) -> list[Rule]:
        """Return the active rules as they were written."""
        written = [row["rule"] for row in self._ask("rules")]
        return list(parse_rules(protocol.pack({"rules": written}), source="the agent", is_json=True)) if written else []

    def status(self) -> dict[str, Any]:
        """Return the agent's status, a value of JSON per name.

        Among them are the epoch, events and lost events, whether the ledger balances, and memory (bytes) and
        CPU time (s) of the agent's process.
        """
        return self._ask("status")

    def cost(self) -> dict[str, float] | None:
        """Measure what the tracing programs cost now; this takes half a second.

        Returns
        -------
        dict of str to float, or None
            ``share``: the programs' share of the CPU time spent in the kernel, 0 to 1; ``packet_ns``: CPU time
            per packet at all points together, ns. None without traffic.
        """
        return self._ask("cost")

    # ---- data ------------------------------------------------------------------

    def record(self, seconds: float, progress: Progress = None) -> Session:
        """Record what the agent's rules match in the next seconds.

        Parameters
        ----------
        seconds : float
            How long to record.
        progress : callable or False, optional
            Called with a phrase and a fraction from 0 to 1; False shows nothing; by default a bar on a
            terminal and in a notebook.

        Returns
        -------
        Session
            It begins and ends at the beginning of an epoch, so its ledger is exact.

        Raises
        ------
        TransportError
            The agent does not answer any more.
        SessionError
            The agent's stream was too small for the recording.
        """
        begin, started_ns = self._ask("mark"), time.monotonic_ns()
        deadline = time.monotonic() + seconds
        with shown(progress, f"agent of {self.host}") as say:
            while (left := deadline - time.monotonic()) > 0:
                say("recording", 1 - left / seconds)
                time.sleep(min(left, 0.2))
        end, ended_ns = self._ask("mark"), time.monotonic_ns()
        return self._session(begin, end, started_ns, ended_ns)

    def _session(self, begin: dict, end: dict, started_ns: int, ended_ns: int) -> Session:
        first, last = int(begin["epoch"]), int(end["epoch"])
        begin_ns, end_ns = int(begin["window_ns"]), int(end["window_ns"])
        entries = self._ask(
            "manifest", {"first_epoch": first, "end_epoch": last, "begin_ns": begin_ns, "end_ns": end_ns}
        )
        dtypes = {word: protocol.dtype_of(layout) for word, layout in entries.pop("layouts").items()}
        chunks: list[tuple[int, np.ndarray]] = []
        windows: list[tuple[int, int, np.ndarray]] = []
        for message in self._stored(int(begin["after"]) + 1, int(end["until"])):
            records = protocol.records_of(message.payload, dtypes[message.subject.rpartition(".")[2]])
            if message.subject.endswith(".cells"):
                window = protocol.number(message.headers, "start_ns"), protocol.number(message.headers, "end_ns")
                if begin_ns <= window[0] and window[1] <= end_ns:
                    windows.append((*window, records))
                continue
            inside = records["epoch"] - np.uint16(first & 0xFFFF) < last - first  # 16 bits that wrap around
            chunks.append((protocol.number(message.headers, "cpu"), records[inside]))
        _count_missing(entries, chunks)
        entries["recording"] = {
            "started_ns": started_ns,
            "seconds": (ended_ns - started_ns) / 1e9,
            "ended": "finished",
            "reader_cpu_s": 0.0,
            "host": self.host,
        }
        entries["workload"] = None
        aggregated = any(one["rule"]["mode"] == "aggregate" for one in entries["rules"])
        return Session(directory.columns_of(chunks), entries, cell_columns(windows) if aggregated else None)

    def _stored(self, first: int, last: int) -> Iterator[Message]:
        """Yield the messages of the agent's stream from sequence number `first` to `last`."""
        if last < first:
            return
        with self._transport.replay(protocol.subject(self.host, "*"), first) as replay:
            expected = first
            for message in replay:
                if message.sequence != expected:
                    raise SessionError(
                        "the agent's stream no longer has all of the recording",
                        why=f"message {expected} is gone: the stream is full",
                        fix="record for a shorter time, narrow or sample the rules, or use mode aggregate",
                    )
                yield message
                expected += 1
                if message.sequence >= last:
                    return

    def windows(self, every_s: float | None = None) -> Windows:
        """Follow what rules of mode aggregate measure, window by window.

        Parameters
        ----------
        every_s : float, optional
            Length of window to request from the agent while the windows are followed, 0.1 to 1 s. They are
            shorter when another client requests shorter ones. By default no length is requested, and the
            agent sends windows of a second unless another client requests shorter ones.

        Returns
        -------
        Windows
            Yields a session per window.

        Raises
        ------
        TransportError
            `every_s` is out of range, or the agent does not answer.
        """
        return Windows(self._transport, self.host, self._ask, every_s)

    def close(self) -> None:
        """Close the transport; idempotent. An agent in another process keeps running."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _count_missing(entries: dict[str, Any], chunks: Sequence[tuple[int, np.ndarray]]) -> None:
    """Count events as lost in the ledger that the kernel recorded but that did not arrive here."""
    arrived = np.zeros(256, np.int64)
    for _, records in chunks:
        arrived += np.bincount(records["point"], minlength=256)
    ids = {point["name"]: point["id"] for point in entries["points"]}
    for row in entries["ledger"]:
        count = int(arrived[ids[row["point"]]])
        row["lost"] += row["recorded"] - count
        row["recorded"] = count
