"""Rules: what to trace, where, how, and how often."""

from .files import load_rules, parse_rules
from .model import MAX_RULES, ContainerFacts, Containers, Match, Rule, RuleSet
from .plan import Plan, points_of, resolve_points, selects, compile_rules, threshold

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
    "points_of",
    "resolve_points",
    "selects",
    "compile_rules",
    "threshold",
]
