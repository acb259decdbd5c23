"""The capture of a recording as a tracer, to measure its overhead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmonlab.points.probe import Probe
    from cmonlab.rules import Rule
    from cmonlab.tracing.members import Container

    from .capture import Capture


@dataclass(frozen=True)
class Traced:
    """A tracer for `cmonlab.recording.overhead.measure`: traces with these rules, as `cmonlab.record` does.

    Parameters
    ----------
    rules : sequence of Rule
        Active while the block runs.
    containers : callable, optional
        Returns the known containers; rules with container selectors need it.
    probes : sequence of Probe, optional
        Custom probes.
    """

    rules: Sequence[Rule]
    containers: Callable[[], Sequence[Container]] = tuple
    probes: Sequence[Probe] = ()

    @contextmanager
    def _capture(self) -> Iterator[Capture]:
        from .capture import Capture

        with Capture(self.rules, list, self.containers, probes=self.probes) as capture:
            yield capture
            capture.check()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._capture():
            yield

    @contextmanager
    def time_programs(self) -> Iterator[dict[str, tuple[float, int]]]:
        """Trace and time the programs while a block runs; see `cmonlab.tracing.cost.time_programs`."""
        with self._capture() as capture, capture.time_programs() as programs:
            yield programs
