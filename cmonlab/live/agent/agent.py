"""Tracing of one host: rules are added and removed while it runs, and its containers are followed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cmonlab.errors import CmonlabError, UnknownName
from cmonlab.lab.inventory.inventory import Inventory
from cmonlab.points.catalogue import BY_NAME
from cmonlab.recording import provenance
from cmonlab.rules import Plan, Rule, RuleSet, compile_rules
from cmonlab.tracing.budgets import Budgets
from cmonlab.tracing.cost import Meter
from cmonlab.tracing.kernel.programs import available
from cmonlab.tracing.members import Members
from cmonlab.tracing.tracer import Tracer

from .process import process_usage
from .window_length import WindowLength

if TYPE_CHECKING:
    from cmonlab.lab.docker.client import DockerClient

_log = logging.getLogger(__name__)
_KEEP_NAMES_NS = 60 * 10**9  # how long names of ended containers are kept
#: Trace gaps that are kept, the latest ones; one compressed message can hold this many.
MOST_TRACE_GAPS = 50_000
_CHANGES_SHOWN = 5  # changes of budgets in the status, the latest ones
_RING_BYTES = 4 << 20  # per CPU; twice as much is resident, because each ring is mapped twice in a row
_MAINTENANCE_S = 10.0
_DROP_ID = BY_NAME["kfree_skb"].id


class Agent:
    """Traces this host with rules that may change at any time; a context manager.

    Parameters
    ----------
    on_events : callable
        Called with ``(cpu, records)`` for the events that are read from one CPU's ring; `records` has
        the kernel's record as dtype and shape ``(events,)``.
    on_cells : callable
        Called with ``(start_ns, end_ns, cells)`` for each window of aggregates: CLOCK_MONOTONIC in ns,
        and cells of shape ``(cells,)``. A window lasts a second unless `window_length` says less.
    client : docker.DockerClient, optional
        The Docker engine whose containers are followed; without one, only interfaces are followed.
    names : dict of str to str, optional
        Container id → short name.

    Attributes
    ----------
    tracer : Tracer
        The programs in the kernel.
    inventory : Inventory
        Interfaces and containers of this host.
    budgets : Budgets
        What keeps rules within their ``max_overhead``.
    window_length : WindowLength
        How long windows of aggregates are.

    Raises
    ------
    NotTraceable, DockerError
        This host cannot trace, or the Docker engine does not work.
    """

    def __init__(
        self,
        on_events: Callable[[int, np.ndarray], None],
        on_cells: Callable[[int, int, np.ndarray], None],
        client: DockerClient | None = None,
        names: dict[str, str] | None = None,
    ):
        self._stack = ExitStack()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._rules: dict[str, Rule] = {}
        self._until: dict[str, float] = {}
        self._written: dict[Plan, Rule] = {}
        self._closing = False
        self._available = [point.name for point in available()]
        self._drop_locations: set[int] = set()
        self._gaps_kept_from_ns = 0
        self._on_events = on_events
        self._started_ns = time.monotonic_ns()
        self.window_length = WindowLength()
        try:
            self.inventory = self._stack.enter_context(Inventory(client, names))
            self._members = Members(self.inventory.containers)
            self.tracer = self._stack.enter_context(
                Tracer(ring_bytes=_RING_BYTES, on_records=self._take_events, on_cells=on_cells)
            )
            self.tracer.cells_s = lambda: self.window_length.window_s
            self.tracer.start()
            self.budgets = Budgets(self.tracer, self._reactivate, self._available)
            self._stack.callback(self.budgets.close)
        except BaseException:
            self._stack.close()
            raise
        self.inventory.on_change(lambda _: self._members.follow(self.tracer.active.set_members))
        self._maintenance = threading.Thread(target=self._maintain_until_closed, name="cmonlab-agent", daemon=True)
        self._maintenance.start()

    def _take_events(self, cpu: int, records: np.ndarray) -> None:
        drops = records["aux"][records["point"] == _DROP_ID]
        if len(drops):
            self._drop_locations.update(np.unique(drops).tolist())
        self._on_events(cpu, records)

    # ---- rules -----------------------------------------------------------------

    def apply(self, rules: Sequence[Rule], replace: bool = False) -> int:
        """Add rules; a rule replaces an active one of the same name.

        Parameters
        ----------
        rules : sequence of Rule
            The rules to make active.
        replace : bool
            End all other rules.

        Returns
        -------
        int
            The first epoch with these rules.

        Raises
        ------
        RuleError, NotTraceable, UnknownName
            They cannot be active; the active rules stay as they are.
        """
        with self._lock:
            wanted = ({} if replace else self._rules) | {rule.name: rule for rule in rules}
            epoch = self._activate(wanted)
            now = time.monotonic()
            for rule in rules:
                self._until[rule.name] = now + rule.duration if rule.duration else float("inf")
            self._changed.notify_all()
            return epoch

    def remove(self, names: Sequence[str]) -> int:
        """End the rules of these names; return the first epoch without them.

        Raises
        ------
        UnknownName
            A rule is not active.
        """
        with self._lock:
            for name in names:
                if name not in self._rules:
                    raise UnknownName("active rule", name, self._rules)
            return self._activate({name: rule for name, rule in self._rules.items() if name not in names})

    def checkpoint(self) -> tuple[int, int]:
        """Begin a new epoch with the same rules.

        Returns
        -------
        epoch : int
            The new epoch.
        window_ns : int
            When its first window of cells began, CLOCK_MONOTONIC in ns.
        """
        with self._lock:
            return self._activate(self._rules), self.tracer.window_ns

    def _activate(self, wanted: dict[str, Rule]) -> int:
        RuleSet(rules=list(wanted.values())) if wanted else None
        rules = self.budgets.effective(list(wanted.values()))
        plans = compile_rules(rules, self._available)
        epoch = self.tracer.apply(plans, self._members.begin(rules))
        self._written |= dict(zip(plans, rules, strict=True))
        self._rules = dict(wanted)
        self.budgets.follow(list(wanted.values()))
        self._until = {name: until for name, until in self._until.items() if name in wanted}
        return epoch

    def _reactivate(self) -> None:
        with self._lock:
            self._activate(self._rules)

    def rules(self) -> list[dict[str, Any]]:
        """Return the active rules, one dict per rule.

        Each has the rule as it was written, its slot, points, first epoch, budget, the seconds that are left
        of its duration (None: no end) and the hops that it has recorded or counted so far.
        """
        with self._lock:
            tallies = self.tracer.tallies()
            now = time.monotonic()
            return [
                {
                    "name": active.plan.name,
                    "rule": self._written[active.plan].model_dump(mode="json"),
                    "slot": active.slot,
                    "since_epoch": active.first,
                    "points": list(active.plan.points),
                    "seconds_left": _left(self._until.get(active.plan.name, float("inf")) - now),
                    "budget": self.budgets.of(active.plan.name),
                    "hops": sum(int(row["packets"]) for row in tallies if row["slot"] == active.slot),
                }
                for active in self.tracer.active.current
            ]

    def _maintain_until_closed(self) -> None:
        """End rules whose duration is over; forget old trace gaps and the names of what ended long ago."""
        while True:
            with self._changed:
                soonest = min(self._until.values(), default=float("inf"))
                if not self._closing:
                    self._changed.wait(max(0.0, min(soonest - time.monotonic(), _MAINTENANCE_S)))
                if self._closing:
                    return
                self._end_expired()
            if forgotten := self.tracer.recording.trace_gaps[:-MOST_TRACE_GAPS]:
                del self.tracer.recording.trace_gaps[: len(forgotten)]
                self._gaps_kept_from_ns = forgotten[-1][2]
            self.inventory.release_gone(time.monotonic_ns() - _KEEP_NAMES_NS)

    def _end_expired(self) -> None:
        if expired := [name for name, until in self._until.items() if until <= time.monotonic()]:
            try:
                self.remove(expired)
            except CmonlabError as error:
                _log.error("the rules %s cannot be ended: %s", ", ".join(expired), error)
                self._until |= dict.fromkeys(expired, time.monotonic() + _MAINTENANCE_S)

    # ---- manifest and status ------------------------------------------------------

    def drain(self) -> None:
        """Wait until all events and cells of earlier epochs have been passed to the callbacks."""
        self.tracer.flush()

    def manifest(
        self, first_epoch: int = 0, end_epoch: int = 1 << 62, begin_ns: int = 0, end_ns: int = 0
    ) -> dict[str, Any]:
        """Return a session's manifest, without its entry ``recording``.

        Parameters
        ----------
        first_epoch, end_epoch : int
            Rules, ledgers and budgets are those of the epochs from `first_epoch` to before `end_epoch`.
        begin_ns, end_ns : int
            Trace gaps are those that overlap this time (CLOCK_MONOTONIC, ns); by default none. On a busy
            machine there are hundreds per second.

        Returns
        -------
        dict
            The manifest. Trace gaps that ended before its entry ``blind_from_ns`` are no longer known.
        """
        with self._lock:
            gaps = [one for one in self.tracer.recording.trace_gaps if one[2] > begin_ns and one[1] < end_ns]
            ledgers = self.tracer.ledgers()
            chosen = [row for epoch, row in ledgers.items() if first_epoch <= epoch < end_epoch]
            active = [
                rule
                for rule in self.tracer.active.history
                if rule.first < end_epoch and (not rule.last or rule.last >= first_epoch)
            ]
            return {
                **provenance.of_host(),
                **provenance.of_recording(
                    points=self.tracer.points,
                    ledgers=chosen,
                    tallies=self.tracer.tallies(),
                    trace_gaps=gaps,
                    addresses6=self.tracer.addresses6(),
                    code=sorted(self._drop_locations),
                ),
                "rules": provenance.of_rules(active, self._written, self.tracer.active.epoch),
                "budget": self.budgets.summary(first_epoch, end_epoch),
                "blind_from_ns": self._gaps_kept_from_ns,
                "links": self.inventory.links(),
                "inventory": {"missed": list(self.inventory.missed), "error": self.inventory.error},
            }

    def cost(self) -> dict[str, float] | None:
        """Measure what the tracing programs cost now; this takes half a second.

        The kernel counts the programs' run time (``bpf_stats``) during a tenth of it.

        Returns
        -------
        dict of str to float, or None
            ``share``: the programs' share of the CPU time spent in the kernel, 0 to 1; ``packet_ns``: CPU time
            per packet at all points together, ns. None without traffic.
        """
        cost = Meter(self.tracer).measure(threading.Event().wait)
        return None if cost is None else {"share": cost.share, "packet_ns": cost.packet_ns}

    def status(self) -> dict[str, Any]:
        """Return the agent's status, a value of JSON per name.

        Among them are the epoch, events and lost events, whether the ledger balances, and memory (bytes) and
        CPU time (s) of this process.
        """
        ledgers = self.tracer.ledgers().values()
        fates = [row for ledger in ledgers for row in ledger.values()]
        return {
            "epoch": self.tracer.active.epoch,
            "window_s": self.window_length.window_s,
            "rules": len(self._rules),
            "events": self.tracer.events,
            "lost_events": sum(row["lost"] for row in fates),
            "balanced": all(row["seen"] == sum(row.values()) - row["seen"] for row in fates),
            "trace_gaps": len(self.tracer.recording.trace_gaps),
            "containers": sum(container.running for container in self.inventory.containers()),
            "seconds": (time.monotonic_ns() - self._started_ns) / 1e9,
            **process_usage(),
            "budgets": {name: budget for name in list(self._rules) if (budget := self.budgets.of(name))},
            "budget_changes": [f"{change.rule}: {change.text}" for change in self.budgets.changes[-_CHANGES_SHOWN:]],
            "error": self._error(),
        }

    def _error(self) -> str:
        if self.inventory.error:
            return self.inventory.error
        if self.tracer.error:
            return repr(self.tracer.error)
        return f"budgets are not kept: {self.budgets.error}" if self.budgets.error else ""

    def close(self) -> None:
        """Detach and free everything; idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._maintenance.join()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _left(seconds: float) -> float | None:
    return None if seconds == float("inf") else max(0.0, seconds)
