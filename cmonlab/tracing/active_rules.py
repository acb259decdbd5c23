"""The rules that are active, and the programs that carry them out.

A change loads and attaches a second set of programs, which stays silent until one
word in a map names its epoch: from then on it works and the other one is silent.  So
each packet at each point meets exactly one of the two, and no event is lost.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmonlab.errors import NotTraceable, RuleError
from cmonlab.filters.translate import match_program
from cmonlab.points.catalogue import CATALOGUE, FIRST_CUSTOM, Point

from .counters import Counters
from .generation import Generation, Rule, skipped_runs
from .kernel import bpf, loader, programs, splice
from .kernel import probes as custom
from .kernel.btf import vmlinux

Ledger = dict[str, dict[str, int]]

_TURNS = {"sched_waking": 1, "sched_switch": 2}
_ALL = _NO_LIMIT = 2**32 - 1
_ALWAYS = {"sched_switch"}  # attached for trace gaps, whatever the rules


class ActiveRules:
    """Rules at work, changed as a whole.

    Parameters
    ----------
    module : Module
        The compiled ``points.c``.
    own : sequence of Point
        Custom points that it was compiled with.
    """

    def __init__(self, module: loader.Module, own: Sequence[Point] = ()):
        self._module = module
        self._catalogue = (*CATALOGUE, *own)
        self._compiled = {
            name: module.instructions(name) for name in {p.program for p in (*programs.available(), *own)}
        }
        self.counters = Counters(module)
        self._now = Generation()
        self._before = Generation()
        self._side = 0
        self._lock = threading.RLock()
        self._retiring: threading.Thread | None = None
        self._members: dict[str, frozenset[int]] = {}  # by rule
        self._written: dict[int, int] = {}  # as the kernel has them: address, mask of slots
        self._ledgers: dict[int, Ledger] = {}  # of the epochs that have ended
        self.history: list[Rule] = []

    @property
    def epoch(self) -> int:
        """Of the current rule set, 0 before the first one."""
        return self._now.epoch

    @property
    def programs(self) -> dict[Point, int]:
        """The current rule set's programs, one a point whatever the number of rules and devices: their fds."""
        return dict(self._now.programs)

    @property
    def current(self) -> list[Rule]:
        """The active rules."""
        return [rule for rule in self.history if not rule.last]

    def apply(self, plans: Sequence[Any], members: Mapping[str, Sequence[int]] | None = None) -> int:
        """Make these the active rules, and return their epoch; the table of cells changes with it, as in `flip`.

        Parameters
        ----------
        plans : sequence of Plan
            Those that are active already, equal in all, go on without a gap.
        members : mapping of str to sequence of int
            By rule: the addresses of its containers, as `address_key` makes them.

        Raises
        ------
        RuleError
            There are too many.
        NotTraceable
            The kernel refuses the programs; the rules before stay active.
        """
        with self._lock:
            self._finish()
            kept = {rule.plan.name: rule for rule in self.current if rule.plan in plans}
            fresh = [Rule(0, plan, self.epoch + 1) for plan in plans if plan.name not in kept]
            self._place(fresh)
            self.counters.clear_epoch(self.epoch + 1)
            everyone = [*kept.values(), *fresh]
            self._write_members(everyone, self._members | {k: frozenset(v) for k, v in (members or {}).items()})
            following = self._load(everyone)
            self._before, self._now = self._now, following
            self._side = 1 - self._side
            self._write_state()
            for rule in self.current:
                if rule not in everyone:
                    rule.last = self._before.epoch
            self.history += fresh
            self._retire()
            return following.epoch

    def set_members(self, name: str, addresses: Sequence[int]) -> None:
        """Change which addresses belong to a rule's containers; at once, in the same epoch."""
        with self._lock:
            self._write_members(self.current, self._members | {name: frozenset(addresses)})

    @property
    def rests(self) -> int:
        """The table of cells, 0 or 1, that is not written to."""
        return 1 - self._side

    def flip(self) -> None:
        """Let the programs write to the other table of cells."""
        with self._lock:
            self._side = 1 - self._side
            self._write_state()

    def _write_state(self, epoch: int | None = None) -> None:
        # One aligned 64-bit word, so that no program sees half of it.
        state = struct.pack("<II", self.epoch if epoch is None else epoch, self._side)
        self._module.maps["states"].set(0, state)

    def _place(self, rules: list[Rule]) -> None:
        taken = {rule.slot for rule in self.current}
        free = [slot for slot in range(programs.RULES) if slot not in taken]
        if len(rules) > len(free):
            raise RuleError(
                f"{len(taken) + len(rules)} rules cannot be active at a time",
                why=f"there is room for {programs.RULES}, those included that are being replaced",
                fix="remove rules first, or let one rule select more containers",
            )
        used = {rule.slot for rule in self.history}
        free.sort(key=lambda slot: slot in used)  # a fresh one needs no cleaning
        table = self._module.maps["rules"]
        for rule, slot in zip(rules, free, strict=False):
            rule.slot = slot
            if slot in used:
                self._clean(slot)
            row = np.zeros((), table.value)
            row["sample"] = rule.plan.begin
            row["limit"] = max(1, rule.plan.limit * 2**27 // 10**9) if rule.plan.limit else _NO_LIMIT
            table.set(slot, row.tobytes())

    def set_sample(self, name: str, sample: int) -> None:
        """Change which packets a rule with a budget takes; at once, at every point, in the same epoch.

        Parameters
        ----------
        name : str
            Nothing changes where no such rule is active.
        sample : int
            As `Plan.sample`.
        """
        table = self._module.maps["rules"]
        with self._lock:
            for rule in self.current:
                if rule.plan.name == name and rule.plan.budgeted:
                    row = table.get(rule.slot).copy()
                    row["sample"] = sample
                    table.set(rule.slot, row.tobytes())

    def run_times(self) -> tuple[int, dict[str, tuple[int, int]]]:
        """Return the epoch, and by point for how long its program has run (ns) and how often, as far as was counted.

        See `bpf.enable_run_time_stats`.
        """
        with self._lock:
            return self.epoch, {point.name: bpf.program_stats(fd)[:2] for point, fd in self._now.programs.items()}

    def _clean(self, slot: int) -> None:
        """Forget what a rule left that had this slot before."""
        self.counters.clear_rule(slot)
        readers = self._module.maps["readers"]
        ports, masks = readers.items()
        for at in np.flatnonzero(masks >> np.uint64(slot) & np.uint64(1)):
            readers.set(int(ports[at]), (masks[at] & ~np.uint64(1 << slot)).tobytes())

    def _write_members(self, rules: Sequence[Rule], members: Mapping[str, frozenset[int]]) -> None:
        """Write whose rules each address is; rules that are about to end keep their addresses until they do."""
        wanted: dict[int, int] = {}
        for rule in {rule.slot: rule for rule in (*self.current, *rules)}.values():
            for address in members.get(rule.plan.name, ()):
                wanted[address] = wanted.get(address, 0) | 1 << rule.slot
        table = self._module.maps["members"]
        for address, mask in wanted.items():
            if self._written.get(address) != mask:
                table.set(address, struct.pack("<Q", mask))
        for address in self._written.keys() - wanted.keys():
            table.delete(address)
        self._written = wanted
        self._members = dict(members)

    def _load(self, rules: Sequence[Rule]) -> Generation:
        """Load and attach the programs of a rule set; they stay silent."""
        made = Generation(self.epoch + 1)
        wanted = {name for rule in rules for name in rule.plan.points} - _ALWAYS
        try:
            # Points further down first: a journey must not begin before its end can be seen.
            for point in reversed([p for p in self._catalogue if p.name in wanted]):
                made.programs[point] = self._load_one(point, made.epoch, rules)
                made.links.append(loader.attach(made.programs[point], programs.target(point)))
        except BaseException:
            self._take_down(made)
            raise
        made.skipped = skipped_runs(made)
        return made

    def _load_one(self, point: Point, epoch: int, rules: Sequence[Rule]) -> int:
        code = _program(self._compiled[point.program], point, epoch, rules, places(self._module))
        try:
            return self._module.load(code, f"on_{point.name}", programs.target(point))
        except NotTraceable as error:
            raise custom.refused(point, error) if point.id >= FIRST_CUSTOM else error from error.__cause__

    def try_load(self, plan: Any) -> None:
        """Show the kernel the programs of a rule, and attach none of them.

        Raises
        ------
        NotTraceable, ProbeError
            It refuses one.
        """
        for point in self._catalogue:
            if point.name in plan.points:
                self._module.unload(self._load_one(point, self.epoch + 1, [Rule(0, plan, self.epoch + 1)]))

    def _retire(self) -> None:
        """Remove programs that are silent already; each takes the kernel a while."""
        before = self._before
        before.skipped = {point: n - before.skipped.get(point, 0) for point, n in skipped_runs(before).items()}
        self._retiring = threading.Thread(target=self._take_down, args=(before,), name="cmonlab-retire", daemon=True)
        self._retiring.start()

    def _take_down(self, generation: Generation) -> None:
        while generation.links:
            os.close(generation.links.pop())
        while generation.programs:
            self._module.unload(generation.programs.popitem()[1])

    def _finish(self) -> None:
        """Wait until no program of the last epoch runs any more, and keep its ledger."""
        if self._retiring is None:
            return
        self._retiring.join()
        self._retiring = None
        if self._before.epoch:
            self._ledgers[self._before.epoch] = self._counted(self._before.epoch, self._before.skipped)

    def settle(self) -> None:
        """Return when no program of an earlier epoch runs any more."""
        with self._lock:
            self._finish()

    def silence(self) -> None:
        """Detach every program, and return when none runs any more; may be called twice."""
        with self._lock:
            self._finish()
            if not self._now.links:
                return
            self._write_state(0)  # all at once, not one by one as they are detached
            for rule in self.current:
                rule.last = self.epoch
            self._before, self._now = self._now, Generation(self._now.epoch)
            self._retire()
            self._finish()

    def close(self) -> None:
        """Silence everything, and let go of the kernel's memory; what was counted is kept. May be called twice."""
        self.silence()
        self.counters.close()

    # ---- what was counted ----------------------------------------------------

    def ledgers(self) -> dict[int, Ledger]:
        """Return what became of the packets by epoch, then point, as the programs have counted it.

        A run that the kernel skipped as recursive was seen, and lost.
        """
        with self._lock:
            self._finish()
            if not self._now.links:
                return dict(self._ledgers)
            skipped = {point: n - self._now.skipped.get(point, 0) for point, n in skipped_runs(self._now).items()}
            return self._ledgers | {self.epoch: self._counted(self.epoch, skipped)}

    def _counted(self, epoch: int, skipped: Mapping[Point, int]) -> Ledger:
        rows: Ledger = {}
        for point in self._catalogue:
            if point.stage == "softirq":
                continue
            row = self.counters.fates(epoch, point.id)
            row["seen"] += skipped.get(point, 0)
            row["lost"] += skipped.get(point, 0)
            rows[point.name] = row
        return rows


def places(module: loader.Module) -> dict[int, int]:
    """Return the constants that say where things are."""
    maps = module.maps
    return {splice.STATE: maps["states"].fd, splice.SLOTS: maps["slots"].entries // maps["rings"].entries}


def _program(compiled: bytes, point: Point, epoch: int, rules: Sequence[Rule], places: Mapping[int, int]) -> bytes:
    """Return the program of one point."""
    here = [rule for rule in rules if point.name in rule.plan.points]

    def mask(which) -> int:
        return sum(1 << rule.slot for rule in here if which(rule.plan))

    turns = {name for rule in rules if rule.plan.mode == "capture" for name in rule.plan.points}
    constants = {
        splice.EPOCH: epoch & 0xFFFFFFFF,
        splice.RULES_ON: mask(lambda plan: True),
        splice.RULES_END: max((rule.slot + 1 for rule in here), default=0),
        splice.CAPTURE: mask(lambda plan: plan.mode == "capture"),
        splice.AGGREGATE: mask(lambda plan: plan.mode == "aggregate"),
        splice.SELECTED: mask(lambda plan: plan.selected),
        splice.OUTGOING: mask(lambda plan: plan.outgoing),
        splice.INCOMING: mask(lambda plan: plan.incoming),
        splice.POINT_ID: point.id,
        splice.PACKET_ARGUMENT: max(point.packet, 0),
        splice.PACKET_PLACE: int(point.stage == "receive"),
        splice.TELL_TURNS: sum(bit for name, bit in _TURNS.items() if name in turns),
        splice.SAMPLED: mask(lambda plan: plan.sample < _ALL or plan.budgeted),
        splice.LIMITED: mask(lambda plan: plan.limit),
        splice.BY_FLOW: mask(lambda plan: plan.by_flow),
        **places,
    }
    filters = [(rule.slot, rule.plan.filter) for rule in here]
    return splice.splice(compiled, constants, match_program(filters), programs.readable_id(vmlinux()))
