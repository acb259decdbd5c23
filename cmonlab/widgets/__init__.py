"""Widgets for notebooks: the live dashboard, and a form for rules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..rules import Rule
    from .board import Dashboard
    from .form import RuleForm

__all__ = ["dashboard", "rule_form"]


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
    looked_at : Lab or cmonlab.agent.client.Client
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
    from .board import Dashboard

    return Dashboard(looked_at, rule, hz, theme, containers)


def rule_form(on_apply: Callable[[list[Rule]], object] | None = None) -> RuleForm:
    """Return a form for rules that writes the same YAML as one would by hand.

    Parameters
    ----------
    on_apply : callable, optional
        Takes the rules when Apply is pressed, for instance ``agent.apply``.
    """
    from .form import RuleForm

    return RuleForm(on_apply)
