"""The active rules, and their programs in the kernel.

A change of rules loads and attaches a second set of programs. Each set has an epoch, and does nothing unless a word in
a map has its epoch. When the second set is complete, this word is changed, and the first set is removed. So exactly one
set handles each packet at each point, and no event is lost.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cmonlab.errors import NotTraceable, RuleError
from cmonlab.filters.translate import match_program
from cmonlab.points.catalogue import CATALOGUE, FIRST_PROBE, Point
from cmonlab.rules import Plan

from .constants import map_constants, program_constants
from .counters import Counters
from .generation import Generation, Rule, skipped_runs
from .kernel import bpf, loader, probes, programs
from .kernel.btf import vmlinux
from .kernel.defines import defines
from .kernel.differences import readable_id
from .kernel.splice import splice
from .result import Ledger

_LIMIT_WINDOW_NS = 1 << defines("records.h")["LIMIT_WINDOW_SHIFT"]
_NO_LIMIT = 2**32 - 1
_ALWAYS = {"sched_switch"}  # the tracer attaches it for trace gaps, whatever the rules


class ActiveRules:
    """The set of active rules, which changes as a whole.

    Parameters
    ----------
    module : Module
        The compiled ``points.c``.
    probe_points : sequence of Point
        Points of the custom probes that it was compiled with.

    Attributes
    ----------
    counters : Counters
        What the programs count.
    history : list of Rule
        All rules that are or were active.
    """

    def __init__(self, module: loader.Module, probe_points: Sequence[Point] = ()):
        self._module = module
        self._catalogue = (*CATALOGUE, *probe_points)
        self._compiled = {
            name: module.instructions(name) for name in {p.program for p in (*programs.available(), *probe_points)}
        }
        self.counters = Counters(module)
        self._now = Generation()
        self._before = Generation()
        self._side = 0
        self._lock = threading.RLock()
        self._retiring: threading.Thread | None = None
        self._members: dict[str, frozenset[int]] = {}  # address keys by rule
        self._written: dict[int, int] = {}  # as they are in the kernel: slots (bits) by address key
        self._ledgers: dict[int, Ledger] = {}  # of the epochs that have ended
        self.history: list[Rule] = []

    @property
    def epoch(self) -> int:
        """Number of the current rule set, 0 before the first one."""
        return self._now.epoch

    @property
    def programs(self) -> dict[Point, int]:
        """The fds of the current programs by point: one program per point, for all rules and devices."""
        return dict(self._now.programs)

    @property
    def current(self) -> list[Rule]:
        """The active rules."""
        return [rule for rule in self.history if not rule.last]

    def apply(self, plans: Sequence[Plan], members: Mapping[str, Iterable[int]] | None = None) -> int:
        """Replace the active rules; the programs then write to the other table of cells, as after `flip`.

        Parameters
        ----------
        plans : sequence of Plan
            The rules to make active. A rule that is active already and has an equal plan continues without a gap.
        members : mapping of str to iterable of int
            By name of the rule: addresses of its containers, from
            `cmonlab.tracing.kernel.addresses.address_key`.

        Returns
        -------
        int
            The new epoch.

        Raises
        ------
        RuleError
            There are too many rules.
        NotTraceable
            The kernel refuses a program. The rules that were active stay active.
        """
        with self._lock:
            self._finish()
            kept = {rule.plan.name: rule for rule in self.current if rule.plan in plans}
            fresh = [Rule(0, plan, self.epoch + 1) for plan in plans if plan.name not in kept]
            self._place(fresh)
            self.counters.clear_epoch(self.epoch + 1)
            rules = [*kept.values(), *fresh]
            self._write_members(rules, self._members | {k: frozenset(v) for k, v in (members or {}).items()})
            following = self._load(rules)
            self._before, self._now = self._now, following
            self._side = 1 - self._side
            self._write_state()
            for rule in self.current:
                if rule not in rules:
                    rule.last = self._before.epoch
            self.history += fresh
            self._retire()
            return following.epoch

    def set_members(self, name: str, addresses: Iterable[int]) -> None:
        """Change the addresses of a rule's containers, at once and in the same epoch.

        Parameters
        ----------
        name : str
            Name of the rule.
        addresses : iterable of int
            All addresses, from `cmonlab.tracing.kernel.addresses.address_key`.
        """
        with self._lock:
            self._write_members(self.current, self._members | {name: frozenset(addresses)})

    @property
    def idle_side(self) -> int:
        """The table of cells that the programs do not write to, 0 or 1."""
        return 1 - self._side

    def flip(self) -> None:
        """Make the programs write to the other table of cells."""
        with self._lock:
            self._side = 1 - self._side
            self._write_state()

    def _write_state(self, epoch: int | None = None) -> None:
        # One aligned 64-bit word: programs see the old or the new one, never a mixture.
        state = struct.pack("<II", self.epoch if epoch is None else epoch, self._side)
        self._module.maps["states"].set(0, state)

    def _place(self, rules: list[Rule]) -> None:
        taken = {rule.slot for rule in self.current}
        free = [slot for slot in range(programs.RULES) if slot not in taken]
        if len(rules) > len(free):
            raise RuleError(
                f"{len(taken) + len(rules)} rules cannot be active at a time",
                why=f"there is room for {programs.RULES}, including those that are being replaced",
                fix="remove rules first, or let one rule select more containers",
            )
        used = {rule.slot for rule in self.history}
        free.sort(key=lambda slot: slot in used)  # an unused slot needs no cleaning
        table = self._module.maps["rules"]
        for rule, slot in zip(rules, free, strict=False):
            rule.slot = slot
            if slot in used:
                self._clean(slot)
            row = np.zeros((), table.value)
            row["sample"] = rule.plan.begin
            row["limit"] = max(1, rule.plan.limit * _LIMIT_WINDOW_NS // 10**9) if rule.plan.limit else _NO_LIMIT
            table.set(slot, row.tobytes())

    def set_sample(self, name: str, sample: int) -> None:
        """Change the sample of a rule with a budget, at once, at every point and in the same epoch.

        Parameters
        ----------
        name : str
            Name of the rule; nothing changes if no rule of that name is active or it has no budget.
        sample : int
            As `Plan.sample`, 0 to 2**32 - 1.
        """
        table = self._module.maps["rules"]
        with self._lock:
            for rule in self.current:
                if rule.plan.name == name and rule.plan.budgeted:
                    row = table.get(rule.slot).copy()
                    row["sample"] = sample
                    table.set(rule.slot, row.tobytes())

    def run_times(self) -> tuple[int, dict[str, tuple[int, int]]]:
        """Return the run times of the current programs, as far as the kernel has counted them.

        It counts while `bpf.enable_run_time_stats` is in force.

        Returns
        -------
        epoch : int
            The current epoch.
        times : dict of str to (int, int)
            By point: the program's run time in ns, and its number of runs.
        """
        with self._lock:
            return self.epoch, {point.name: bpf.program_stats(fd)[:2] for point, fd in self._now.programs.items()}

    def _clean(self, slot: int) -> None:
        """Remove what the rule that had this slot before has left."""
        self.counters.clear_rule(slot)
        readers = self._module.maps["readers"]
        ports, masks = readers.items()
        for at in np.flatnonzero(masks >> np.uint64(slot) & np.uint64(1)):
            readers.set(int(ports[at]), (masks[at] & ~np.uint64(1 << slot)).tobytes())

    def _write_members(self, rules: Sequence[Rule], members: Mapping[str, frozenset[int]]) -> None:
        """Write which rules select each address; rules that are about to end keep their addresses until then."""
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
        """Load and attach the programs of a rule set, which do nothing yet."""
        made = Generation(self.epoch + 1)
        wanted = {name for rule in rules for name in rule.plan.points} - _ALWAYS
        try:
            # Points at the end of the path first: a journey must not begin before its end can be seen.
            for point in reversed([p for p in self._catalogue if p.name in wanted]):
                made.programs[point] = self._load_one(point, made.epoch, rules)
                made.links.append(loader.attach(made.programs[point], programs.target(point)))
        except BaseException:
            self._take_down(made)
            raise
        made.skipped = skipped_runs(made)
        return made

    def _load_one(self, point: Point, epoch: int, rules: Sequence[Rule]) -> int:
        constants = program_constants(point, epoch, rules) | map_constants(self._module)
        filters = [(rule.slot, rule.plan.filter) for rule in rules if point.name in rule.plan.points]
        code = splice(self._compiled[point.program], constants, match_program(filters), readable_id(vmlinux()))
        try:
            return self._module.load(code, f"on_{point.name}", programs.target(point))
        except NotTraceable as error:
            raise probes.refusal(point, error) if point.id >= FIRST_PROBE else error from error.__cause__

    def try_load(self, plan: Plan) -> None:
        """Load the programs of a rule without attaching them, and unload them.

        Raises
        ------
        NotTraceable, ProbeError
            The kernel refuses a program.
        """
        for point in self._catalogue:
            if point.name in plan.points:
                self._module.unload(self._load_one(point, self.epoch + 1, [Rule(0, plan, self.epoch + 1)]))

    def _retire(self) -> None:
        """Remove the programs of the last epoch in a thread: each takes the kernel some time."""
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
        """Wait until the programs of the last epoch are removed, and store its ledger."""
        if self._retiring is None:
            return
        self._retiring.join()
        self._retiring = None
        if self._before.epoch:
            self._ledgers[self._before.epoch] = self._counted(self._before.epoch, self._before.skipped)

    def wait_until_retired(self) -> None:
        """Return when the programs of all earlier epochs are removed."""
        with self._lock:
            self._finish()

    def detach(self) -> None:
        """Detach all programs and return when none runs any more; idempotent."""
        with self._lock:
            self._finish()
            if not self._now.links:
                return
            self._write_state(0)  # all at once: they are detached one after the other
            for rule in self.current:
                rule.last = self.epoch
            self._before, self._now = self._now, Generation(self._now.epoch)
            self._retire()
            self._finish()

    def close(self) -> None:
        """Detach all programs and unmap the counters, whose values are kept; idempotent."""
        self.detach()
        self.counters.close()

    # ---- what was counted ----------------------------------------------------

    def ledgers(self) -> dict[int, Ledger]:
        """Return what became of the packets, as the programs have counted it.

        A run that the kernel skipped because a program interrupted itself counts as seen and as lost.

        Returns
        -------
        dict of int to dict of str to dict of str to int
            Epoch → point → the counts that `Counters.fates` returns.
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
