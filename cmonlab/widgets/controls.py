"""The dashboard's controls: which rule, which colours, pause, marks, recordings."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ipywidgets as w

from cmonlab.rules import Rule

from .figures import Pace
from .form import RuleForm
from .selection import Selection

if TYPE_CHECKING:
    from .dashboard import Dashboard

COLORS = {"Delay": "delay", "Loss": "loss", "Throughput": "throughput"}


class Controls:
    """The row of controls and what they do.

    Parameters
    ----------
    dashboard : Dashboard
    """

    def __init__(self, dashboard: Dashboard):
        self._dashboard, self._model = dashboard, dashboard.model
        self._choices: dict[str, Selection] = {}
        self._rules: dict[str, Rule] = {}
        self._known: tuple = ()
        self._offering = Pace(1.0)
        self._rule = w.Dropdown(
            description="Rule",
            options=[("none yet", "")],
            layout=w.Layout(width="18em"),
            style={"description_width": "3em"},
        )
        self._colors = w.ToggleButtons(options=list(COLORS))
        self._colors.style.button_width = "8em"
        self._pause = w.ToggleButton(value=False, description="Pause", icon="pause", layout=w.Layout(width="7em"))
        self._look = w.Combobox(
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
        self.form = RuleForm(on_apply=self._apply)
        folded = w.Accordion([self.form.widget], titles=("Change the rule, or add one",), selected_index=None)
        rows = [
            [self._rule, w.Label("Colour by"), self._colors, self._look, self._pause],
            [self._note, self._mark, self._seconds, self._record, self._message],
        ]
        wrapped = w.Layout(flex_flow="row wrap", align_items="center")
        self.widget = w.VBox([*(w.HBox(row, layout=wrapped) for row in rows), folded])
        self.widget.add_class("cmonlab-controls")
        self._rule.observe(self._choose, "value")
        self._look.observe(self._looked, "value")
        self._mark.on_click(lambda _: self._marked())
        self._record.on_click(lambda _: dashboard.do(self._recorded))

    @property
    def paused(self) -> bool:
        """Whether the view is to stand still."""
        return self._pause.value

    @property
    def colors(self) -> str:
        """What colours mean."""
        return COLORS[self._colors.value]

    def say(self, text: str, bad: bool = False) -> None:
        """Show a message, in place of the one before."""
        self._message.value = (
            f"<div role='{'alert' if bad else 'status'}' class='{'cmonlab-error' if bad else ''}'>"
            f"<pre>{html.escape(text)}</pre></div>"
            if text
            else ""
        )

    def refresh(self, rules: Sequence[Rule]) -> None:
        """Follow the agent's rules, and what there is to look at."""
        self._rules = {rule.name: rule for rule in rules}
        aggregating = [rule.name for rule in rules if rule.mode == "aggregate"]
        own = self._dashboard.own_rules
        options = [(f"{name} (this dashboard's)" if name in own else name, name) for name in aggregating]
        options = options or [("no rule of mode aggregate", "")]
        # A rule of the dashboard's own may be younger than the list.
        self._model.choose(options[0][1], unless={*aggregating, *own})
        before, chosen = self._rule.value, self._model.rule
        if tuple(options) != tuple(self._rule.options) or chosen != before:
            # New options choose the first one for a moment, and another rule makes the model forget.
            self._rule.unobserve(self._choose, "value")
            self._rule.options, self._rule.value = options, chosen if chosen in aggregating else options[0][1]
            self._rule.observe(self._choose, "value")
            if chosen != before and chosen in self._rules:
                self.form.show(self._rules[chosen])
        self._offer()

    def _offer(self) -> None:
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
        self._look.options = tuple(self._choices)

    def _choose(self, change: dict) -> None:
        if change["new"] in self._rules:
            self._model.choose(change["new"])
            self.form.show(self._rules[change["new"]])

    def _looked(self, change: dict) -> None:
        text = change["new"].strip()
        if text in self._choices:
            self._dashboard.look_at(self._choices[text])
        elif text:
            self.say(f"there is no {text!r} to look at: choose one of the list", bad=True)

    def _marked(self) -> None:
        self._dashboard.mark(self._note.value)
        self.say(f"marked{': ' if self._note.value else ''}{self._note.value}")
        self._note.value = ""

    def _recorded(self) -> str:
        self._record.disabled = True
        try:
            session = self._dashboard.record(
                self._seconds.value, lambda phrase, part: self.say(f"{phrase}: {100 * part:.0f} %")
            )
        finally:
            self._record.disabled = False
        return f"recorded {len(session):,} events in {self._seconds.value:g} s: it is dashboard.session"

    def _apply(self, rules: list) -> None:
        self._dashboard.do(lambda: self._applied(rules))

    def _applied(self, rules: list) -> str:
        self._dashboard.apply(*rules)
        return f"active now: {', '.join(rule.name for rule in rules)}"
