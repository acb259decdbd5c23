"""Tracing as a tracer whose overhead is measured: the capture of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmonlab.points.probe import Probe
    from cmonlab.rules import Rule

    from .capture import Capture


@dataclass(frozen=True)
class Traced:
    """The tracer that cmonlab is: the capture of a recording, with these rules.

    Parameters
    ----------
    rules : sequence of Rule
        Active for as long as the block lasts.
    containers : callable, optional
        Returns the containers known; rules with selectors need it.
    probes : sequence of Probe, optional
        Custom points.
    """

    rules: Sequence[Rule]
    containers: Callable[[], Sequence] = tuple
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
        """Look on and count how long the programs run; see `cmonlab.tracing.cost.time_programs`."""
        with self._capture() as capture, capture.time_programs() as programs:
            yield programs
