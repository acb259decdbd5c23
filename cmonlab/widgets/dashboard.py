"""The live dashboard: what happens in the network now, and what tracing costs."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Collection, Hashable
from typing import Any, Self

import ipywidgets as w
import pandas as pd

from cmonlab.errors import CmonlabError
from cmonlab.rules import Rule
from cmonlab.session.session import Session
from cmonlab.system.signals import defer_signals

from .controls import Controls
from .data_source import DataSource, Rules, Source, containers_of, key_of
from .detail import Detail
from .feed import Feed
from .model import Live
from .panes import Graph, Matrix
from .plotly_widget import Library
from .selection import Selection
from .status_bar import StatusBar
from .status_items import status_items
from .stylesheet import stylesheet

_open: dict[Hashable, Dashboard] = {}
_SLOWEST_HZ, _FASTEST_HZ = 0.5, 10.0


class Dashboard:
    """A live view of an agent's measurements, for a notebook or a page; a context manager.

    Parameters
    ----------
    source : Lab or cmonlab.live.agent.client.Client
        The lab, or the agent, to show. For a lab, the dashboard runs an agent in this process. A client's agent
        goes on unchanged, except for the rules that are applied here.
    rule : str, Path, Rule or sequence of Rule, optional
        Rules that are active while the dashboard is open; a str is a pcap expression. By default a lab gets a
        rule that aggregates all IP packets.
    hz : float
        Frames per second, from 0.5 to 10.
    theme : {"light", "dark"}
        Colours of the dashboard.
    containers : collection of str, optional
        Containers whose traffic is shown, together with what connects them; by default all of the lab, or all of
        the agent's host.
    keep_s : float
        How far series go back, s.

    Attributes
    ----------
    model : Live
        The tables behind the view.
    client : cmonlab.live.agent.client.Client
        The agent's client.
    session : Session or None
        The latest recording.

    Raises
    ------
    UnknownName
        There is no such theme.
    RuleError, NotTraceable, TransportError
        The rule cannot be active, or the agent cannot be started or reached.
    """

    def __init__(
        self,
        source: Source,
        rule: Rules | None = None,
        hz: float = 4,
        theme: str = "light",
        containers: Collection[str] | None = None,
        keep_s: float = 300.0,
    ):
        if not _SLOWEST_HZ <= hz <= _FASTEST_HZ:
            raise CmonlabError(f"a dashboard cannot show {hz:g} frames per second", fix="give hz from 0.5 to 10")
        style = stylesheet(theme)
        self._key = key_of(source)
        if self._key in _open:
            _open[self._key].close()
        self.session: Session | None = None
        self._closing, self._wake = threading.Event(), threading.Event()
        self._doing = threading.Lock()
        self._period_s = 1 / hz
        self.model = Live(keep_s, containers=containers_of(source) if containers is None else containers)
        self._source = DataSource(source, rule)
        self.client = self._source.client
        try:
            self._feed = Feed(self.client, self.model, min(1.0, max(0.1, self._period_s)))
            self._build(style, theme)
        except BaseException:
            self.close()
            raise
        self._thread = threading.Thread(target=self._draw_until_closed, name="cmonlab-dashboard-view", daemon=True)
        self._thread.start()
        _open[self._key] = self
        # A notebook's kernel may be shut down without close().
        atexit.register(self.close)

    def _build(self, style: str, theme: str) -> None:
        self._status_bar = StatusBar()
        self._detail = Detail(self.model, theme)
        self._controls = Controls(self)
        self._graph, self._matrix = Graph(self.model, theme, self.look_at), Matrix(self.model, theme, self.look_at)
        row = w.HBox([self._graph.widget, self._matrix.widget], layout=w.Layout(flex_flow="row wrap"))
        self.widget = w.VBox(
            [w.HTML(style), Library(), self._status_bar, self._controls.widget, row, self._detail.widget]
        )
        self.widget.add_class("cmonlab-dashboard")

    # ---- the view ----------------------------------------------------------------

    def _draw_until_closed(self) -> None:
        due_s = time.monotonic()
        while not self._closing.is_set():
            began_s = time.thread_time()
            if self._status_bar.ready():
                try:
                    self._draw()
                except Exception as error:  # the next frame may succeed
                    self._controls.say(f"a frame cannot be drawn: {error!r}", bad=True)
            # Drawing takes at most half of a CPU, however long a frame takes.
            due_s = max(due_s + self._period_s, time.monotonic() + time.thread_time() - began_s)
            self._wake.wait(max(0.0, due_s - time.monotonic()))
            self._wake.clear()

    def _draw(self) -> None:
        if not self._controls.paused:
            self._graph.refresh(self._controls.colors)
            self._matrix.refresh(self._controls.colors)
            self._detail.refresh()
        self._controls.refresh(self._feed.rules)
        self._status_bar.show(
            status_items(
                self.model,
                paused=self._controls.paused,
                skipped=self._status_bar.skipped,
                missed=self._feed.missed,
                in_process=self._source.in_process,
            )
        )

    @property
    def frames(self) -> int:
        """Frames that were drawn so far."""
        return self._status_bar.frame

    def look_at(self, selection: Selection) -> None:
        """Show a pair, an edge or a node in the detail pane, as a click on it does."""
        self._detail.select(selection)
        self._wake.set()

    # ---- what users do -------------------------------------------------------------

    def mark(self, note: str = "") -> None:
        """Mark this moment with a line in every series; see `marks`."""
        self.model.mark(note)
        self._wake.set()

    @property
    def marks(self) -> pd.DataFrame:
        """Marked moments, one row per mark: ``ts_ns`` (the agent's CLOCK_MONOTONIC), ``time`` (local), ``note``."""
        return self.model.marks

    def apply(self, *rules: Rule) -> None:
        """Make rules active; the first one of mode aggregate is shown.

        Raises
        ------
        RuleError, NotTraceable, TransportError
            They cannot be active; the active rules stay as they are.
        """
        self._source.apply(rules)
        aggregating = [rule.name for rule in rules if rule.mode == "aggregate"]
        if aggregating:
            self.model.choose(aggregating[0])
        self._feed.refresh()

    @property
    def own_rules(self) -> set[str]:
        """Names of the rules that the dashboard added; they end when it is closed."""
        return set(self._source.own)

    def record(self, seconds: float = 10.0, progress: Callable[[str, float], None] | None = None) -> Session:
        """Record what the agent's rules match.

        Parameters
        ----------
        seconds : float
            How long to record.
        progress : callable, optional
            Called with a phrase and a fraction from 0 to 1.

        Returns
        -------
        Session
            Also available as `session`. Its manifest has the marks of the time.

        Raises
        ------
        TransportError
            The agent does not answer any more.
        """
        begin_ns = self.model.now_ns()
        session = self.client.record(seconds, progress)
        marks = self.marks
        marks = marks[marks["ts_ns"].between(begin_ns, self.model.now_ns())]
        session.manifest["marks"] = [{"ts_ns": int(row.ts_ns), "note": row.note} for row in marks.itertuples()]
        self.session = session
        return session

    def do(self, work: Callable[[], str]) -> None:
        """Run work in a thread and show the message that it returns, or its error; for the controls."""

        def run() -> None:
            if not self._doing.acquire(blocking=False):
                self._controls.say("still busy: try again in a moment", bad=True)
                return
            try:
                self._controls.say(work())
            except CmonlabError as error:
                self._controls.say(str(error), bad=True)
            finally:
                self._doing.release()

        threading.Thread(target=run, name="cmonlab-dashboard-work", daemon=True).start()

    # ---- the end -------------------------------------------------------------------

    def close(self) -> None:
        """Stop the view and end the rules that the dashboard added; end a lab's agent. Idempotent."""
        with defer_signals():
            self._closing.set()
            self._wake.set()
            atexit.unregister(self.close)
            if _open.get(self._key) is self:
                del _open[self._key]
            for name in ("_thread", "_feed", "_source", "widget"):
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
    source: Source,
    rule: Rules | None = None,
    hz: float = 4,
    theme: str = "light",
    containers: Collection[str] | None = None,
) -> Dashboard:
    """Show live the traffic between containers, and what tracing it costs.

    Parameters
    ----------
    source : Lab or cmonlab.live.agent.client.Client
        The lab, or the agent, to show. For a lab, an agent runs in this process until the dashboard is closed.
        A client's agent goes on unchanged, except for the rules that are applied here.
    rule : str, Path, Rule or sequence of Rule, optional
        Rules that are active while the dashboard is open; a str is a pcap expression. By default a lab gets a
        rule that aggregates all IP packets.
    hz : float
        Frames per second, from 0.5 to 10.
    theme : {"light", "dark"}
        Colours of the dashboard.
    containers : collection of str, optional
        Containers whose traffic is shown, together with what connects them; by default all of the lab, or all of
        the agent's host.

    Returns
    -------
    Dashboard
        A notebook displays it at the end of a cell. An earlier dashboard of the same lab or agent is closed.

    Raises
    ------
    CmonlabError
        The rule cannot be active, the agent cannot be reached, or this host cannot trace.
    """
    return Dashboard(source, rule, hz, theme, containers)
