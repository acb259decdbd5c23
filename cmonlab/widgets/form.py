"""A form for rules that writes the same YAML as a user would write by hand."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as w

from cmonlab.errors import CmonlabError, RuleError
from cmonlab.points.catalogue import CATALOGUE, GROUPS
from cmonlab.rules import Rule, load_rules, parse_rules

from . import drafts

_MODES = {
    "capture – an event for every hop": "capture",
    "aggregate – histograms in the kernel": "aggregate",
    "count – counters alone": "count",
}
_BY = {"nothing": "", "pair of addresses": "pair", "flow": "flow"}
_TEXTS = {
    "name": ("Name", "small letters, digits, _ . -"),
    "packets": ("Packets", "pcap-filter(7), for instance tcp port 80; empty: every IP packet"),
    "containers_name": ("Containers", "names: web-*, db; empty: the whole host"),
    "containers_image": ("· image", "nginx*"),
    "containers_label": ("· label", "tier=front"),
    "containers_network": ("· network", "mynet"),
    "sample": ("Sample", "10% or 0.1"),
    "limit": ("Limit", "events per second, in mode capture"),
    "max_overhead": ("Max overhead", "3% or 800ns"),
    "duration": ("Duration", "30s, 5min; empty: until removed"),
}
_LABEL = {"description_width": "7.5em"}


class RuleForm:
    """Fields of a rule next to its YAML; users may edit either.

    Parameters
    ----------
    on_apply : callable, optional
        Called with the valid rules (list of Rule) when Apply is pressed; without it there is no such button.

    Attributes
    ----------
    widget : ipywidgets.VBox
        The form.
    error : RuleError or None
        What is wrong with the current rules.
    """

    def __init__(self, on_apply: Callable[[list[Rule]], object] | None = None):
        self._on_apply = on_apply
        self._drafts, self._at, self._busy = [drafts.empty()], 0, False
        self._lock = threading.RLock()
        self.error: RuleError | None = None
        self.fields = _fields()
        self.yaml = w.Textarea(continuous_update=False, layout=w.Layout(width="100%", height="16em"))
        self.yaml.add_class("cmonlab-yaml")
        self._which = w.Dropdown(description="Rule", options=[0], style=_LABEL)
        self._add, self._drop = w.Button(description="Add a rule"), w.Button(description="Remove it")
        self._path = w.Text(description="File", value="rules.yaml", style=_LABEL)
        self._save, self._load = w.Button(description="Save"), w.Button(description="Load")
        self._apply = w.Button(description="Apply", button_style="primary")
        self.message = w.HTML()
        self.message.add_class("cmonlab-message")
        self.widget = self._laid_out()
        for name, field in self.fields.items():
            field.observe(self._by_user(partial(self._edit_field, name)), "value")
        self.yaml.observe(self._by_user(self._edit_yaml), "value")
        self._which.observe(self._by_user(self._choose), "value")
        self._add.on_click(lambda _: self._add_rule())
        self._drop.on_click(lambda _: self._remove_rule())
        self._save.on_click(lambda _: self._try(lambda: self.save(self._path.value)))
        self._load.on_click(lambda _: self._try(lambda: self.load(self._path.value)))
        self._apply.on_click(lambda _: self._try(self.apply))
        self._show()

    def _laid_out(self) -> w.VBox:
        left = w.VBox(
            [w.HBox([self._which, self._add, self._drop], layout=w.Layout(flex_flow="row wrap")), *self.fields.values()]
        )
        buttons = [self._path, self._save, self._load, *([self._apply] if self._on_apply else [])]
        right = w.VBox([self.yaml, w.HBox(buttons, layout=w.Layout(flex_flow="row wrap")), self.message])
        for box in (left, right):
            box.layout = w.Layout(flex="1 1 340px", min_width="300px", padding="0 8px 0 0")
        widget = w.VBox([w.HBox([left, right], layout=w.Layout(flex_flow="row wrap"))])
        widget.add_class("cmonlab-rule-form")
        return widget

    # ---- rules in and out ----------------------------------------------------------

    @property
    def rules(self) -> list[Rule]:
        """The current rules.

        Raises
        ------
        RuleError
            They are not valid.
        """
        return list(parse_rules(self.yaml.value, source="the form"))

    def show(self, rules: Rule | Sequence[Rule], chosen: str = "") -> None:
        """Show rules.

        Parameters
        ----------
        rules : Rule or sequence of Rule
            All rules of the form.
        chosen : str
            Name of the rule whose fields are shown; by default the first one.
        """
        rules = [rules] if isinstance(rules, Rule) else list(rules)
        names = [rule.name for rule in rules]
        with self._lock:
            self._drafts = [drafts.of_rule(rule) for rule in rules]
            self._at = names.index(chosen) if chosen in names else 0
            self._show()

    def load(self, path: str | Path) -> str:
        """Show the rules of a file; return a message for the user.

        Raises
        ------
        RuleError
            The file cannot be read or does not hold valid rules.
        """
        self.show(load_rules(path))
        return f"{path} is loaded"

    def save(self, path: str | Path) -> str:
        """Write the rules to a file; return a message for the user.

        Raises
        ------
        RuleError
            The rules are not valid, or the file cannot be written.
        """
        _ = self.rules
        try:
            Path(path).write_text(self.yaml.value, encoding="utf-8")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise RuleError(f"{path} cannot be written", why=why, fix="choose another file") from error
        return f"{path} is written"

    def apply(self) -> str:
        """Call `on_apply` with the rules; return a message for the user.

        Raises
        ------
        RuleError
            The rules are not valid.
        """
        rules = self.rules
        if self._on_apply:
            self._on_apply(rules)
        return f"applied: {', '.join(rule.name for rule in rules)}"

    # ---- edits ---------------------------------------------------------------------

    def _by_user(self, handle: Callable[[Any], None]) -> Callable[[dict[str, Any]], None]:
        """Return a callback for `observe` that handles changes by the user only, not those that `_show` makes.

        The lock is needed because a dashboard shows rules from another thread.
        """

        def observe(change: dict[str, Any]) -> None:
            with self._lock:
                if not self._busy:
                    handle(change["new"])

        return observe

    def _edit_field(self, name: str, value: Any) -> None:
        self._drafts[self._at][name] = value
        self._show()

    def _edit_yaml(self, text: str) -> None:
        """Show the rules of the edited YAML; text that is not valid stays, so that the user can correct it."""
        try:
            rules = parse_rules(text, source="the text")
        except RuleError as error:
            self._say(error)
            return
        chosen = self._drafts[self._at]["name"]
        self.show(rules, chosen)

    def _choose(self, number: int | None) -> None:
        if number is not None:
            self._at = number
            self._show()

    def _add_rule(self) -> None:
        with self._lock:
            taken = {draft["name"] for draft in self._drafts}
            self._drafts.append(drafts.empty(next(name for n in range(1, 99) if (name := f"rule{n}") not in taken)))
            self._at = len(self._drafts) - 1
            self._show()

    def _remove_rule(self) -> None:
        with self._lock:
            if len(self._drafts) > 1:
                del self._drafts[self._at]
                self._at = min(self._at, len(self._drafts) - 1)
                self._show()

    def _show(self) -> None:
        """Update fields, YAML and message from the drafts."""
        draft = self._drafts[self._at]
        self._busy = True
        try:
            self._which.options = [(one["name"] or "(no name)", number) for number, one in enumerate(self._drafts)]
            self._which.value = self._at
            points = self.fields["points"]
            points.options = tuple(dict.fromkeys([*points.options, *draft["points"]]))  # with custom probes
            for name, field in self.fields.items():
                field.value = draft[name]
            self._drop.disabled = len(self._drafts) == 1
            self.yaml.value = drafts.to_yaml(self._drafts)
        finally:
            self._busy = False
        try:
            _ = self.rules
            self._say("valid")
        except RuleError as error:
            self._say(error)

    def _try(self, work: Callable[[], str]) -> None:
        try:
            self._say(work())
        except CmonlabError as error:
            self._say(error)

    def _say(self, message: str | CmonlabError) -> None:
        self.error = message if isinstance(message, RuleError) else None
        self._apply.disabled = self._save.disabled = self.error is not None
        role, style = ("alert", "cmonlab-error") if isinstance(message, CmonlabError) else ("status", "")
        self.message.value = f"<div role='{role}' class='{style}'><pre>{html.escape(str(message))}</pre></div>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.widget._repr_mimebundle_(**kwargs)


def _fields() -> dict[str, w.ValueWidget]:
    """Return the fields' widgets, in the order of the form."""
    wide = w.Layout(width="98%")

    def text(name: str) -> w.Text:
        label, hint = _TEXTS[name]
        return w.Text(description=label, placeholder=hint, style=_LABEL, layout=wide, continuous_update=True)

    points = ("default", "all", *GROUPS, *(point.name for point in CATALOGUE))
    chosen = {
        "direction": w.Dropdown(description="Direction", options=["both", "in", "out"], style=_LABEL),
        "points": w.SelectMultiple(
            description="Points",
            options=tuple(dict.fromkeys(points)),
            rows=6,
            value=("default",),
            style=_LABEL,
            layout=wide,
        ),
        "mode": w.Dropdown(description="Mode", options=_MODES, style=_LABEL, layout=wide),
        "by": w.Dropdown(description="Separate by", options=_BY, style=_LABEL),
    }
    return {name: chosen[name] if name in chosen else text(name) for name in drafts.empty()}


def rule_form(on_apply: Callable[[list[Rule]], object] | None = None) -> RuleForm:
    """Return a form for rules that writes the same YAML as a user would write by hand.

    Parameters
    ----------
    on_apply : callable, optional
        Called with the rules when Apply is pressed, for instance ``agent.apply``.
    """
    return RuleForm(on_apply)
