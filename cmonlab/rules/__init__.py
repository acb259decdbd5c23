"""Rules: what to trace, where, how, and how often."""

from .engine import Plan, resolve_points, selects, standardise
from .files import load_rules, parse_rules
from .model import MAX_RULES, ContainerFacts, Containers, Match, Rule, RuleSet

__all__ = [
    "MAX_RULES",
    "ContainerFacts",
    "Containers",
    "Match",
    "Plan",
    "Rule",
    "RuleSet",
    "load_rules",
    "parse_rules",
    "resolve_points",
    "selects",
    "standardise",
]
