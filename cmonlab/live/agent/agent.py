"""One host's tracing: rules that come and go, containers that are followed."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np

from cmonlab.errors import CmonlabError, UnknownName
from cmonlab.lab.inventory.inventory import Inventory
from cmonlab.recording import provenance
from cmonlab.rules import Plan, Rule, RuleSet, compile_rules
from cmonlab.tracing.budgets import Budgets
from cmonlab.tracing.cost import Meter
from cmonlab.tracing.kernel.programs import available
from cmonlab.tracing.members import Members
from cmonlab.tracing.tracer import Tracer

from .pace import Pace

_log = logging.getLogger(__name__)
_KEEP_NAMES_NS = 60 * 10**9  # of containers that have ended
MOST_TRACE_GAPS = 50_000  # intervals, the latest ones: a message can hold so many, packed
_CHANGES_TOLD = 5  # of budgets, the latest ones
_RING_BYTES = 4 << 20  # a CPU; twice that is resident, as each is mapped twice in a row


class Agent:
    """Traces this host with rules that may change at any time; a context manager.

    Parameters
    ----------
    on_events : callable
        Takes ``(cpu, records)``, the kernel's records as they are read.
    on_cells : callable
        Takes ``(start_ns, end_ns, cells)`` of each window, once a second unless `pace` is asked for more.
    client : docker.DockerClient, optional
        Of the engine whose containers are followed; without one, only interfaces are.
    names : mapping of str to str, optional
        Short names of containers by id.

    Raises
    ------
    NotTraceable, DockerError
        This host is not usable.
    """

    def __init__(
        self,
        on_events: Callable[[int, np.ndarray], None],
        on_cells: Callable[[int, int, np.ndarray], None],
        client: Any = None,
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
        self._code: set[int] = set()
        self._blind_from_ns = 0
        self._on_events = on_events
        self.started_ns = time.monotonic_ns()
        self.pace = Pace()
        try:
            self.inventory = self._stack.enter_context(Inventory(client, names))
            self._members = Members(self.inventory.containers)
            self.tracer = self._stack.enter_context(
                Tracer(ring_bytes=_RING_BYTES, on_records=self._take_events, on_cells=on_cells)
            )
            self.tracer.cells_s = lambda: self.pace.window_s
            self.tracer.start()
            self.budgets = Budgets(self.tracer, self._reactivate, self._available)
            self._stack.callback(self.budgets.close)
        except BaseException:
            self._stack.close()
            raise
        self.inventory.on_change(lambda _: self._members.follow(self.tracer.active.set_members))
        self._keeper = threading.Thread(target=self._keep_house, name="cmonlab-agent", daemon=True)
        self._keeper.start()

    def _take_events(self, cpu: int, records: np.ndarray) -> None:
        drops = records["aux"][records["point"] == self._drop_id]
        if len(drops):
            self._code.update(np.unique(drops).tolist())
        self._on_events(cpu, records)

    @property
    def _drop_id(self) -> int:
        from cmonlab.points.catalogue import BY_NAME

        return BY_NAME["kfree_skb"].id

    # ---- rules -----------------------------------------------------------------

    def apply(self, rules: Sequence[Rule], replace: bool = False) -> int:
        """Add rules, or change those of the same name, and return the epoch that they begin with.

        Parameters
        ----------
        rules : sequence of Rule
        replace : bool
            End every other rule.

        Raises
        ------
        RuleError, NotTraceable, UnknownName
            They cannot be active; those before stay as they were.
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
        """End rules, and return the epoch without them.

        Raises
        ------
        UnknownName
            No rule of that name is active.
        """
        with self._lock:
            for name in names:
                if name not in self._rules:
                    raise UnknownName("active rule", name, self._rules)
            return self._activate({name: rule for name, rule in self._rules.items() if name not in names})

    def mark(self) -> tuple[int, int]:
        """Begin a new epoch with the same rules; return it, and when its window of cells began (ns)."""
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
        """Return the active rules: each as it was written, its slot, first epoch, seconds left, and packets so far."""
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

    def _keep_house(self) -> None:
        """End rules whose time is over; let the names of what has long ended go."""
        while True:
            with self._changed:
                soonest = min([*self._until.values(), time.monotonic() + 10])
                self._changed.wait_for(lambda: self._closing, max(0.0, min(soonest - time.monotonic(), 10)))
                if self._closing:
                    return
                over = [name for name, until in self._until.items() if until <= time.monotonic()]
                if over:
                    try:
                        self.remove(over)
                    except CmonlabError as error:
                        _log.error("the rules %s cannot be ended: %s", ", ".join(over), error)
            if let_go := self.tracer.recording.trace_gaps[:-MOST_TRACE_GAPS]:
                del self.tracer.recording.trace_gaps[: len(let_go)]
                self._blind_from_ns = let_go[-1][2]
            self.inventory.release_gone(time.monotonic_ns() - _KEEP_NAMES_NS)

    # ---- what it says of itself -------------------------------------------------

    def drain(self) -> None:
        """Return when everything of the epochs before the current one has been handed out."""
        self.tracer.flush()

    def manifest(
        self, first_epoch: int = 0, end_epoch: int = 1 << 62, begin_ns: int = 0, end_ns: int = 0
    ) -> dict[str, Any]:
        """Return a session's manifest but for its recording, of the epochs from `first_epoch` to before `end_epoch`.

        Trace gaps are those that overlap the time from `begin_ns` to `end_ns`: on a busy machine they come by the
        hundred a second. Those that ended before ``blind_from_ns`` have been let go.
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
                    code=sorted(self._code),
                ),
                "rules": provenance.of_rules(active, self._written, self.tracer.active.epoch),
                "budget": self.budgets.told(first_epoch, end_epoch),
                "blind_from_ns": self._blind_from_ns,
                "links": self.inventory.links(),
                "inventory": {"missed": list(self.inventory.missed), "error": self.inventory.error},
            }

    def cost(self) -> dict[str, float] | None:
        """Return what the programs cost now: ``share`` of the kernel's time, ``packet_ns``; None without traffic.

        It takes half a second, for a tenth of which the kernel counts the time that programs run.
        """
        cost = Meter(self.tracer).measure(threading.Event().wait)
        return None if cost is None else {"share": cost.share, "packet_ns": cost.packet_ns}

    def status(self) -> dict[str, Any]:
        """Return how the agent fares: epoch, events, lost events, memory and CPU time of this process."""
        ledgers = self.tracer.ledgers().values()
        fates = [row for ledger in ledgers for row in ledger.values()]
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return {
            "epoch": self.tracer.active.epoch,
            "window_s": self.pace.window_s,
            "rules": len(self._rules),
            "events": self.tracer.events,
            "lost_events": sum(row["lost"] for row in fates),
            "balanced": all(row["seen"] == sum(row.values()) - row["seen"] for row in fates),
            "trace_gaps": len(self.tracer.recording.trace_gaps),
            "containers": sum(container.running for container in self.inventory.containers()),
            "seconds": (time.monotonic_ns() - self.started_ns) / 1e9,
            "cpu_s": time.process_time(),
            "resident_bytes": resident,
            "budgets": {name: told for name in list(self._rules) if (told := self.budgets.of(name))},
            "budget_changes": [f"{change.rule}: {change.told}" for change in self.budgets.changes[-_CHANGES_TOLD:]],
            "error": self.inventory.error
            or (repr(self.tracer.error) if self.tracer.error else "")
            or (f"budgets are not kept: {self.budgets.error}" if self.budgets.error else ""),
        }

    def close(self) -> None:
        """Detach and free everything; may be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._keeper.join()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _left(seconds: float) -> float | None:
    return None if seconds == float("inf") else max(0.0, seconds)
