"""Talk to an agent: change its rules, watch what it measures, bring a session home."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
import pandas as pd

from cmonlab.data.store import cells as _cells
from cmonlab.data.store import directory as store
from cmonlab.errors import SessionError, TransportError
from cmonlab.progress import Progress, shown
from cmonlab.rules import Rule, parse_rules
from cmonlab.session.session import Session

from ..transport import Message, Transport
from . import protocol as wire
from .windows import Windows

_ANSWER_S = 15.0
_HELLO_S = 3.0


class Client:
    """One agent, seen from anywhere; a context manager that owns its transport.

    Parameters
    ----------
    transport : Transport
    host : str, optional
        Which host's agent; by default the one that answers first.
    close : callable, optional
        What else is to be closed with it.

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
            self.host = wire.host_word(host) if host else self._hello()
        except BaseException:
            self._stack.close()
            raise

    def _hello(self) -> str:
        try:
            return str(wire.unpack(self._transport.request(wire.HELLO, b"null", _HELLO_S))["host"])
        except TransportError as error:
            raise TransportError("no agent answers", why=error.what, fix="start `cmonlab agent`") from error

    def _ask(self, word: str, question: Any = None) -> Any:
        return wire.unpack(self._transport.request(wire.subject(self.host, word), wire.pack(question), _ANSWER_S))

    def __repr__(self) -> str:
        return f"<agent of {self.host}>"

    # ---- rules -----------------------------------------------------------------

    def apply(self, rules: Rule | Sequence[Rule], replace: bool = False) -> int:
        """Add rules, or change those of the same name, and return the epoch that they begin with.

        Parameters
        ----------
        rules : Rule or sequence of Rule
        replace : bool
            End every other rule.

        Raises
        ------
        RuleError, NotTraceable, TransportError
        """
        told = [rule.model_dump(mode="json") for rule in ([rules] if isinstance(rules, Rule) else rules)]
        return int(self._ask("apply", {"rules": told, "replace": replace})["epoch"])

    def remove(self, *names: str) -> int:
        """End rules, and return the epoch without them.

        Raises
        ------
        UnknownName, TransportError
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
        told = [row["rule"] for row in self._ask("rules")]
        return list(parse_rules(wire.pack({"rules": told}), source="the agent", is_json=True)) if told else []

    def status(self) -> dict[str, Any]:
        """Return how the agent fares: epoch, events, lost events, whether the ledger balances, memory, CPU time."""
        return self._ask("status")

    def cost(self) -> dict[str, float] | None:
        """Return what the programs cost now, None without traffic; it takes half a second.

        Returns
        -------
        dict of str to float, or None
            ``share``: of the time that the kernel's CPUs spend in the kernel, ``packet_ns``: ns a packet.
        """
        return self._ask("cost")

    # ---- data ------------------------------------------------------------------

    def record(self, seconds: float, progress: Progress = None) -> Session:
        """Bring home what the agent's rules take in the next seconds.

        Parameters
        ----------
        seconds : float
        progress : callable or False, optional
            Called with a phrase and a fraction from 0 to 1; False: quiet; by default a bar on a
            terminal and in a notebook.

        Returns
        -------
        Session
            From one epoch's beginning to another's, so that its ledger is exact.

        Raises
        ------
        TransportError
            The agent went away.
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
        dtypes = {word: wire.dtype_of(told) for word, told in entries.pop("layouts").items()}
        chunks: list[tuple[int, np.ndarray]] = []
        windows: list[tuple[int, int, np.ndarray]] = []
        for message in self._kept(int(begin["after"]) + 1, int(end["until"])):
            records = wire.records_of(message.payload, dtypes[message.subject.rpartition(".")[2]])
            if message.subject.endswith(".cells"):
                window = wire.number(message.headers, "start_ns"), wire.number(message.headers, "end_ns")
                if begin_ns <= window[0] and window[1] <= end_ns:
                    windows.append((*window, records))
                continue
            inside = records["epoch"] - np.uint16(first & 0xFFFF) < last - first  # 16 bits: they go round
            chunks.append((wire.number(message.headers, "cpu"), records[inside]))
        self._settle_ledger(entries, chunks)
        entries["recording"] = {
            "started_ns": started_ns,
            "seconds": (ended_ns - started_ns) / 1e9,
            "ended": "finished",
            "reader_cpu_s": 0.0,
            "host": self.host,
        }
        entries["workload"] = None
        aggregated = any(one["rule"]["mode"] == "aggregate" for one in entries["rules"])
        return Session(store.columns_of(chunks), entries, _cells.columns_of(windows) if aggregated else None)

    def _kept(self, first: int, last: int) -> Iterator[Message]:
        """Return the messages of the agent's stream from one number to another."""
        if last < first:
            return
        with self._transport.replay(wire.subject(self.host, "*"), first) as replay:
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

    def _settle_ledger(self, entries: dict[str, Any], chunks: Sequence[tuple[int, np.ndarray]]) -> None:
        """Count as lost what the kernel recorded and did not come home."""
        held = np.zeros(256, np.int64)
        for _, records in chunks:
            held += np.bincount(records["point"], minlength=256)
        ids = {point["name"]: point["id"] for point in entries["points"]}
        for row in entries["ledger"]:
            row["lost"] += row["recorded"] - int(held[ids[row["point"]]])
            row["recorded"] = int(held[ids[row["point"]]])

    def windows(self, every_s: float | None = None) -> Windows:
        """Follow what rules of mode aggregate measure, window by window; see `Windows`.

        Parameters
        ----------
        every_s : float, optional
            Have the agent hand out windows of this length, from 0.1 to 1 s, for as long as these are
            followed; where others ask for shorter ones, they are shorter. By default no matter which: a
            second unless others ask.
        """
        return Windows(self._transport, self.host, self._ask, every_s)

    def close(self) -> None:
        """Leave the agent alone; may be called twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
