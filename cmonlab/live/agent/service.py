"""An agent that answers requests and publishes its data over a transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from cmonlab.errors import RuleError, TransportError
from cmonlab.rules import Rule, parse_rules

from ..transport import Transport
from . import protocol
from .agent import Agent
from .spool import Spool

if TYPE_CHECKING:
    from cmonlab.lab.docker.client import DockerClient

#: Limits of the stream that stores events and cells for recordings.
KEEP_BYTES, KEEP_S = 512 << 20, 3600.0


class Service:
    """Runs an agent and answers requests to it; a context manager.

    Parameters
    ----------
    transport : Transport
        Carries requests, answers and data.
    client : docker.DockerClient, optional
        The Docker engine whose containers are followed; without one, only interfaces are followed.
    names : mapping of str to str, optional
        Container id → short name.
    host : str, optional
        The name by which clients ask for this agent; by default the host's name.

    Attributes
    ----------
    agent : Agent
        The agent that is served.
    host : str
        The name as it is written in subjects.

    Raises
    ------
    NotTraceable, DockerError
        This host cannot trace, or the Docker engine does not work.
    TransportError
        The transport is not connected or does not store streams.
    """

    def __init__(
        self,
        transport: Transport,
        client: DockerClient | None = None,
        names: Mapping[str, str] | None = None,
        host: str = "",
    ):
        self.host = protocol.host_word(host)
        self._transport, self._stack = transport, ExitStack()
        try:
            subjects = [protocol.subject(self.host, word) for word in ("events", "cells")]
            transport.create_stream(protocol.stream(self.host), subjects, KEEP_BYTES, KEEP_S)
            self._spool = Spool(transport, self.host)
            self._stack.callback(self._spool.close)
            self.agent = self._stack.enter_context(
                Agent(self._spool.events, self._spool.cells, client, dict(names or {}))
            )
            for word, handler in self._handlers().items():
                self._serve(protocol.subject(self.host, word), handler)
            self._serve(protocol.HELLO, lambda _: {"host": self.host})
        except BaseException:
            self.close()
            raise

    def _handlers(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "apply": self._apply,
            "remove": lambda request: {"epoch": self.agent.remove(list(request["names"]))},
            "rules": lambda _: self.agent.rules(),
            "status": lambda _: self._status(),
            "cost": lambda _: self.agent.cost(),
            "window": lambda request: {
                "window_s": self.agent.window_length.request(str(request["who"]), request["seconds"])
            },
            "mark": self._checkpoint,
            "manifest": lambda request: self._manifest(**(request or {})),
        }

    def _serve(self, subject: str, handler: Callable[[Any], Any]) -> None:
        def answer(payload: bytes) -> bytes:
            try:
                return protocol.pack(handler(protocol.unpack(payload)))
            except (KeyError, TypeError) as error:
                raise TransportError(
                    "a request to the agent is incomplete", why=repr(error), fix="use the same cmonlab on both ends"
                ) from error

        self._stack.callback(self._transport.serve(subject, answer).close)

    def _apply(self, request: Any) -> dict[str, Any]:
        rules = rules_from(request["rules"])
        return {"epoch": self.agent.apply(rules, bool(request.get("replace"))), "rules": [rule.name for rule in rules]}

    def _checkpoint(self, _: Any) -> dict[str, Any]:
        """Begin an epoch; the stream has all data of earlier epochs when this returns."""
        stored = self._transport.flush()
        epoch, window_ns = self.agent.checkpoint()
        self.agent.drain()
        return {"epoch": epoch, "window_ns": window_ns, "after": stored, "until": self._spool.flush()}

    def _manifest(self, **period: int) -> dict[str, Any]:
        return self.agent.manifest(**period) | {"layouts": self.layouts()}

    def _status(self) -> dict[str, Any]:
        status = self.agent.status()
        dropped = self._spool.dropped
        return status | {
            "host": self.host,
            "lost_events": status["lost_events"] + dropped["events"],
            "dropped_cells": dropped["cells"],
        }

    def layouts(self) -> dict[str, list[list[str]]]:
        """Return the layouts of the records that are sent: ``events`` and ``cells``, see `protocol.layout_of`."""
        return {
            "events": protocol.layout_of(self.agent.tracer.record),
            "cells": protocol.layout_of(self.agent.tracer.cells_layout),
        }

    def close(self) -> None:
        """Stop answering and tracing; idempotent."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def rules_from(rules: Any) -> list[Rule]:
    """Return the rules of a message, checked like those of a file.

    Raises
    ------
    RuleError
        They are not valid.
    """
    if not isinstance(rules, list):
        raise RuleError("a message holds no rules", why=f"it holds {type(rules).__name__}", fix="send a list of rules")
    return list(parse_rules(protocol.pack({"rules": rules}), source="the message", is_json=True))
