"""An agent that others talk to over a transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Self

from cmonlab.errors import RuleError, TransportError
from cmonlab.rules import Rule, parse_rules

from ..transport import Transport
from . import protocol as wire
from .agent import Agent
from .spool import Spool

KEEP_BYTES, KEEP_S = 512 << 20, 3600.0


class Service:
    """Runs an agent and answers for it; a context manager.

    Parameters
    ----------
    transport : Transport
        Rules come and data goes over it.
    client, names
        As `Agent` has them.
    host : str, optional
        How clients call this host, by default its name.
    """

    def __init__(
        self, transport: Transport, client: Any = None, names: Mapping[str, str] | None = None, host: str = ""
    ):
        self.host = wire.host_word(host)
        self._transport, self._stack = transport, ExitStack()
        try:
            words = [wire.subject(self.host, word) for word in ("events", "cells")]
            transport.keep(wire.stream(self.host), words, KEEP_BYTES, KEEP_S)
            self._spool = Spool(transport, self.host)
            self._stack.callback(self._spool.close)
            self.agent = self._stack.enter_context(
                Agent(self._spool.events, self._spool.cells, client, dict(names or {}))
            )
            for word, handler in self._handlers().items():
                self._serve(wire.subject(self.host, word), handler)
            self._serve(wire.HELLO, lambda _: {"host": self.host})
        except BaseException:
            self.close()
            raise

    def _handlers(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "apply": self._apply,
            "remove": lambda asked: {"epoch": self.agent.remove(list(asked["names"]))},
            "rules": lambda _: self.agent.rules(),
            "status": lambda _: self._status(),
            "cost": lambda _: self.agent.cost(),
            "window": lambda asked: {"window_s": self.agent.pace.ask(str(asked["who"]), asked["seconds"])},
            "mark": self._mark,
            "manifest": lambda asked: self._manifest(**(asked or {})),
        }

    def _serve(self, subject: str, handler: Callable[[Any], Any]) -> None:
        def answer(payload: bytes) -> bytes:
            try:
                return wire.pack(handler(wire.unpack(payload)))
            except (KeyError, TypeError) as error:
                raise TransportError(
                    "a question to the agent lacks something", why=repr(error), fix="use the same cmonlab on both ends"
                ) from error

        self._stack.callback(self._transport.serve(subject, answer).close)

    def _apply(self, asked: Any) -> dict[str, Any]:
        rules = rules_from(asked["rules"])
        return {"epoch": self.agent.apply(rules, bool(asked.get("replace"))), "rules": [rule.name for rule in rules]}

    def _mark(self, _: Any) -> dict[str, Any]:
        """Begin an epoch; all of the ones before is in the stream when this returns."""
        kept = self._transport.flush()
        epoch, window_ns = self.agent.mark()
        self.agent.drain()
        return {"epoch": epoch, "window_ns": window_ns, "after": kept, "until": self._spool.flush()}

    def _manifest(self, **of: int) -> dict[str, Any]:
        return self.agent.manifest(**of) | {"layouts": self.layouts()}

    def _status(self) -> dict[str, Any]:
        told = self.agent.status()
        dropped = self._spool.dropped
        return told | {
            "host": self.host,
            "lost_events": told["lost_events"] + dropped["events"],
            "dropped_cells": dropped["cells"],
        }

    def layouts(self) -> dict[str, list[list[str]]]:
        """Return the layouts of the records sent."""
        return {
            "events": wire.layout(self.agent.tracer.record),
            "cells": wire.layout(self.agent.tracer.cells_layout),
        }

    def close(self) -> None:
        """Stop answering and tracing; may be called twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def rules_from(told: Any) -> list[Rule]:
    """Return the rules of a message; they are checked as those of a file.

    Raises
    ------
    RuleError
        They are wrong.
    """
    if not isinstance(told, list):
        raise RuleError("a message holds no rules", why=f"it holds {type(told).__name__}", fix="send a list of rules")
    return list(parse_rules(wire.pack({"rules": told}), source="the message", is_json=True))
