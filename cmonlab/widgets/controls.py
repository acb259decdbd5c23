"""The dashboard's controls: the shown rule, what colours mean, pause, marks and recordings."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ipywidgets as w

from cmonlab.rules import Rule
from cmonlab.session.session import Session

from .figures import RateLimit
from .form import RuleForm
from .model import Live
from .selection import Selection

COLORS = {"Delay": "delay", "Loss": "loss", "Throughput": "throughput"}


class Actions(Protocol):
    """What the controls call; a `Dashboard` has it."""

    @property
    def model(self) -> Live:
        """The tables behind the view."""

    @property
    def own_rules(self) -> set[str]:
        """Names of the rules that the dashboard added."""

    def look_at(self, selection: Selection) -> None:
        """Show a selection in detail."""

    def mark(self, note: str = "") -> None:
        """Mark this moment."""

    def apply(self, *rules: Rule) -> None:
        """Make rules active."""

    def record(self, seconds: float = 10.0, progress: Callable[[str, float], None] | None = None) -> Session:
        """Record what the agent's rules match.

        Parameters
        ----------
        seconds : float
            How long to record.
        progress : callable, optional
            Called with a phrase and a fraction from 0 to 1.
        """

    def do(self, work: Callable[[], str]) -> None:
        """Run work in a thread and show the message that it returns, or its error."""


class Controls:
    """The rows of controls, and what they do.

    Parameters
    ----------
    actions : Actions
        The dashboard.

    Attributes
    ----------
    widget : ipywidgets.VBox
        All controls.
    form : RuleForm
        The form that changes rules.
    """

    def __init__(self, actions: Actions):
        self._actions, self._model = actions, actions.model
        self._choices: dict[str, Selection] = {}
        self._rules: dict[str, Rule] = {}
        self._known: tuple[int, int] | None = None
        self._offering = RateLimit(1.0)
        self._make_widgets()
        self.form = RuleForm(on_apply=self._apply)
        self.widget = self._laid_out()
        self._rule.observe(self._choose, "value")
        self._selected.observe(self._select, "value")
        self._mark.on_click(lambda _: self._on_mark())
        self._record.on_click(lambda _: actions.do(self._record_session))

    def _make_widgets(self) -> None:
        self._rule = w.Dropdown(
            description="Rule",
            options=[("none yet", "")],
            layout=w.Layout(width="18em"),
            style={"description_width": "3em"},
        )
        self._colors = w.ToggleButtons(options=list(COLORS))
        self._colors.style.button_width = "8em"
        self._pause = w.ToggleButton(value=False, description="Pause", icon="pause", layout=w.Layout(width="7em"))
        self._selected = w.Combobox(
            description="Look at",
            placeholder="container, edge or a → b",
            continuous_update=False,
            layout=w.Layout(width="22em"),
        )
        self._note = w.Text(placeholder="note", layout=w.Layout(width="12em"))
        self._mark = w.Button(description="Mark", icon="bookmark", layout=w.Layout(width="6em"))
        self._seconds = w.BoundedFloatText(
            value=10, min=0.1, max=3600, description="Seconds", layout=w.Layout(width="11em")
        )
        self._record = w.Button(description="Record", icon="circle", layout=w.Layout(width="8em"))
        self._message = w.HTML()
        self._message.add_class("cmonlab-message")

    def _laid_out(self) -> w.VBox:
        folded = w.Accordion([self.form.widget], titles=("Change the rule, or add one",), selected_index=None)
        rows = [
            [self._rule, w.Label("Colour by"), self._colors, self._selected, self._pause],
            [self._note, self._mark, self._seconds, self._record, self._message],
        ]
        wrapped = w.Layout(flex_flow="row wrap", align_items="center")
        widget = w.VBox([*(w.HBox(row, layout=wrapped) for row in rows), folded])
        widget.add_class("cmonlab-controls")
        return widget

    @property
    def paused(self) -> bool:
        """Whether the view is paused."""
        return self._pause.value

    @property
    def colors(self) -> str:
        """What colours mean: ``delay``, ``loss`` or ``throughput``."""
        return COLORS[self._colors.value]

    def say(self, text: str, bad: bool = False) -> None:
        """Show a message in place of the previous one.

        Parameters
        ----------
        text : str
            The message; an empty one shows nothing.
        bad : bool
            Whether it is an error.
        """
        self._message.value = (
            f"<div role='{'alert' if bad else 'status'}' class='{'cmonlab-error' if bad else ''}'>"
            f"<pre>{html.escape(text)}</pre></div>"
            if text
            else ""
        )

    def refresh(self, rules: Sequence[Rule]) -> None:
        """Offer the agent's active rules, and all edges, nodes and pairs that can be selected."""
        self._rules = {rule.name: rule for rule in rules}
        aggregating = [rule.name for rule in rules if rule.mode == "aggregate"]
        own = self._actions.own_rules
        options = [(f"{name} (this dashboard's)" if name in own else name, name) for name in aggregating]
        options = options or [("no rule of mode aggregate", "")]
        # A rule that the dashboard has just added may not be in `rules` yet.
        self._model.choose(options[0][1], unless={*aggregating, *own})
        before, chosen = self._rule.value, self._model.rule
        if tuple(options) != tuple(self._rule.options) or chosen != before:
            # Setting options selects the first one for a moment; the model must not switch to that rule.
            self._rule.unobserve(self._choose, "value")
            self._rule.options, self._rule.value = options, chosen if chosen in aggregating else options[0][1]
            self._rule.observe(self._choose, "value")
            if chosen != before and chosen in self._rules:
                self.form.show(self._rules[chosen])
        self._offer()

    def _offer(self) -> None:
        """Offer what can be selected, about once a second."""
        if not self._offering.due():
            return
        topology = self._model.topology()
        known = (id(topology), self._model.pairs_seen)
        if known == self._known:
            return
        self._known, pairs = known, self._model.pairs(60.0)
        ends = zip(topology["a"], topology["b"], strict=True)
        every = [Selection("edge", str(a), str(b)) for a, b in ends]
        every += [Selection("node", str(name)) for name in dict.fromkeys([*topology["a"], *topology["b"]])]
        every += [Selection("pair", a, b) for a, b in zip(pairs["src"], pairs["dst"], strict=True)]
        self._choices = {str(selection): selection for selection in every}
        self._selected.options = tuple(self._choices)

    def _choose(self, change: dict[str, Any]) -> None:
        if change["new"] in self._rules:
            self._model.choose(change["new"])
            self.form.show(self._rules[change["new"]])

    def _select(self, change: dict[str, Any]) -> None:
        text = change["new"].strip()
        if text in self._choices:
            self._actions.look_at(self._choices[text])
        elif text:
            self.say(f"there is no {text!r} to look at: choose one from the list", bad=True)

    def _on_mark(self) -> None:
        self._actions.mark(self._note.value)
        self.say(f"marked{': ' if self._note.value else ''}{self._note.value}")
        self._note.value = ""

    def _record_session(self) -> str:
        self._record.disabled = True
        try:
            session = self._actions.record(
                self._seconds.value, lambda phrase, part: self.say(f"{phrase}: {100 * part:.0f} %")
            )
        finally:
            self._record.disabled = False
        return f"recorded {len(session):,} events in {self._seconds.value:g} s: it is dashboard.session"

    def _apply(self, rules: list[Rule]) -> None:
        self._actions.do(lambda: self._apply_now(rules))

    def _apply_now(self, rules: list[Rule]) -> str:
        self._actions.apply(*rules)
        return f"active now: {', '.join(rule.name for rule in rules)}"
