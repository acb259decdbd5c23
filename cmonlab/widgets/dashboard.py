"""The live dashboard: what happens in the network now, and what watching it costs."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from pathlib import Path
from typing import Any, Self

import ipywidgets as w
import pandas as pd

from cmonlab.errors import CmonlabError
from cmonlab.rules import Rule
from cmonlab.session.session import Session
from cmonlab.system.signals import defer_signals

from .controls import Controls
from .detail import Detail
from .feed import Feed
from .model import Live
from .panes import Graph, Matrix
from .plotly_widget import Library
from .readings import readings
from .selection import Selection
from .strip import Strip
from .stylesheet import sheet
from .target import Target, containers_of, key_of

_open: dict[Hashable, Dashboard] = {}
_SLOWEST_HZ, _FASTEST_HZ = 0.5, 10.0


class Dashboard:
    """A live view of an agent's measurements, for a notebook or a page; a context manager.

    Parameters
    ----------
    looked_at : Lab or cmonlab.live.agent.client.Client
        Of a lab it runs an agent in this process. A client's agent is left as it is, but for the rules
        that are applied here.
    rule : str, Path, Rule or sequence of Rule, optional
        To be active while the dashboard is open; by default, of a lab, one that aggregates all IP packets.
    hz : float
        Frames a second, from 0.5 to 10.
    theme : {"light", "dark"}
    containers : collection of str, optional
        Whose traffic is shown, and what connects them; by default those of the lab, or of an agent all of its host.
    keep_s : float
        For how long series go back.

    Attributes
    ----------
    model : Live
        The tables behind the view.
    client : cmonlab.live.agent.client.Client
        The agent's.
    session : Session or None
        What was recorded last.

    Raises
    ------
    UnknownName
        There is no such theme.
    RuleError, NotTraceable, TransportError
        The rule cannot be active, or the agent not be started or reached.
    """

    def __init__(
        self,
        looked_at: Any,
        rule: str | Path | Rule | Sequence[Rule] | None = None,
        hz: float = 4,
        theme: str = "light",
        containers: Collection[str] | None = None,
        keep_s: float = 300.0,
    ):
        if not _SLOWEST_HZ <= hz <= _FASTEST_HZ:
            raise CmonlabError(f"a dashboard cannot show {hz:g} frames a second", fix="hz is from 0.5 to 10")
        style = sheet(theme)
        self._key = key_of(looked_at)
        if self._key in _open:
            _open[self._key].close()
        self.session: Session | None = None
        self._closing, self._wake = threading.Event(), threading.Event()
        self._doing = threading.Lock()
        self._period_s = 1 / hz
        self.model = Live(keep_s, containers=containers_of(looked_at) if containers is None else containers)
        self._target = Target(looked_at, rule)
        self.client = self._target.client
        try:
            self._feed = Feed(self.client, self.model, min(1.0, max(0.1, self._period_s)))
            self._build(style, theme)
        except BaseException:
            self.close()
            raise
        self._thread = threading.Thread(target=self._draw_until_closed, name="cmonlab-dashboard-view", daemon=True)
        self._thread.start()
        _open[self._key] = self
        # For a notebook whose kernel is shut down without close().
        atexit.register(self.close)

    def _build(self, style: str, theme: str) -> None:
        self._strip = Strip()
        self._detail = Detail(self.model, theme)
        self._controls = Controls(self)
        self._graph, self._matrix = Graph(self.model, theme, self.look_at), Matrix(self.model, theme, self.look_at)
        row = w.HBox([self._graph.widget, self._matrix.widget], layout=w.Layout(flex_flow="row wrap"))
        self.widget = w.VBox([w.HTML(style), Library(), self._strip, self._controls.widget, row, self._detail.widget])
        self.widget.add_class("cmonlab-dashboard")

    # ---- the view ----------------------------------------------------------------

    def _draw_until_closed(self) -> None:
        due_s = time.monotonic()
        while not self._closing.is_set():
            began_s = time.thread_time()
            if self._strip.ready():
                try:
                    self._draw()
                except Exception as error:  # a frame that fails must not be the last one
                    self._controls.say(f"a frame cannot be drawn: {error!r}", bad=True)
            # However much work a frame is, half of a processor is left to others.
            due_s = max(due_s + self._period_s, time.monotonic() + time.thread_time() - began_s)
            self._wake.wait(max(0.0, due_s - time.monotonic()))
            self._wake.clear()

    def _draw(self) -> None:
        if not self._controls.paused:
            self._graph.refresh(self._controls.colors)
            self._matrix.refresh(self._controls.colors)
            self._detail.refresh()
        self._controls.refresh(self._feed.rules)
        self._strip.show(
            readings(
                self.model,
                paused=self._controls.paused,
                skipped=self._strip.skipped,
                missed=self._feed.missed,
                here=self._target.here,
            )
        )

    @property
    def frames(self) -> int:
        """Frames that were drawn so far."""
        return self._strip.frame

    def look_at(self, selection: Selection) -> None:
        """Show a direction, an edge or a node in the detail pane, as a click on it does."""
        self._detail.select(selection)
        self._wake.set()

    # ---- what its user does --------------------------------------------------------

    def mark(self, note: str = "") -> None:
        """Mark this moment with a line in every series; see `marks`."""
        self.model.mark(note)
        self._wake.set()

    @property
    def marks(self) -> pd.DataFrame:
        """Moments that were marked: ``ts_ns`` (the agent's CLOCK_MONOTONIC), ``time`` (local), ``note``."""
        return self.model.marks

    def apply(self, *rules: Rule) -> None:
        """Make rules active; the first one that aggregates is shown.

        Raises
        ------
        RuleError, NotTraceable, TransportError
            They cannot be active; those before stay as they were.
        """
        self._target.apply(rules)
        aggregating = [rule.name for rule in rules if rule.mode == "aggregate"]
        if aggregating:
            self.model.choose(aggregating[0])
        self._feed.look()

    @property
    def own_rules(self) -> set[str]:
        """Names of the rules that came with the dashboard, and go with it."""
        return set(self._target.own)

    def record(self, seconds: float = 10.0, progress: Callable[[str, float], None] | None = None) -> Session:
        """Record what the agent's rules take; also as `session`. Marks stand in its manifest.

        Parameters
        ----------
        seconds : float
        progress : callable, optional
            Called with a phrase and a fraction from 0 to 1.

        Raises
        ------
        TransportError
            The agent went away.
        """
        begin_ns = self.model.now_ns()
        session = self.client.record(seconds, progress)
        marks = self.marks
        marks = marks[marks["ts_ns"].between(begin_ns, self.model.now_ns())]
        session.manifest["marks"] = [{"ts_ns": int(row.ts_ns), "note": row.note} for row in marks.itertuples()]
        self.session = session
        return session

    def do(self, work: Callable[[], str]) -> None:
        """Do something that takes a while, and say how it went; for the controls."""

        def done() -> None:
            if not self._doing.acquire(blocking=False):
                self._controls.say("still at work: try again in a moment", bad=True)
                return
            try:
                self._controls.say(work())
            except CmonlabError as error:
                self._controls.say(str(error), bad=True)
            finally:
                self._doing.release()

        threading.Thread(target=done, name="cmonlab-dashboard-work", daemon=True).start()

    # ---- the end -------------------------------------------------------------------

    def close(self) -> None:
        """Stop, end the rules that came with the dashboard, and with a lab its agent; may be called twice."""
        with defer_signals():
            self._closing.set()
            self._wake.set()
            atexit.unregister(self.close)
            if _open.get(self._key) is self:
                del _open[self._key]
            for name in ("_thread", "_feed", "_target", "widget"):
                part = getattr(self, name, None)
                if part is not None:
                    part.join() if name == "_thread" else part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.widget._repr_mimebundle_(**kwargs)

    def __repr__(self) -> str:
        return f"<Dashboard of {self.client.host}, {'closed' if self._closing.is_set() else f'frame {self.frames}'}>"


def dashboard(
    looked_at: Any,
    rule: str | Path | Rule | Sequence[Rule] | None = None,
    hz: float = 4,
    theme: str = "light",
    containers: Collection[str] | None = None,
) -> Dashboard:
    """Show live what passes between containers, and what watching it costs.

    Parameters
    ----------
    looked_at : Lab or cmonlab.live.agent.client.Client
        Of a lab it runs an agent in this process, which ends with the dashboard. A client's agent is left
        as it is, but for the rules that are applied here.
    rule : str, Path, Rule or sequence of Rule, optional
        To be active while the dashboard is open; a text is a pcap expression. By default, of a lab, one
        that aggregates all IP packets.
    hz : float
        Frames a second, from 0.5 to 10.
    theme : {"light", "dark"}
    containers : collection of str, optional
        Whose traffic is shown, and what connects them; by default those of the lab, or of an agent all of its host.

    Returns
    -------
    Dashboard
        Shown by a notebook where a cell ends with it. An earlier one of the same lab or agent is closed.

    Raises
    ------
    CmonlabError
        The rule cannot be active, the agent not be reached, or this host not be traced.
    """
    return Dashboard(looked_at, rule, hz, theme, containers)
