"""Rules: what to trace, where, how, and how often."""

from .files import load_rules, parse_rules
from .model import MAX_RULES, ContainerFacts, Containers, Match, Rule, RuleSet
from .plan import Plan, compile_rules, points_of, resolve_points, selects, threshold

__all__ = [
    "MAX_RULES",
    "ContainerFacts",
    "Containers",
    "Match",
    "Plan",
    "Rule",
    "RuleSet",
    "compile_rules",
    "load_rules",
    "parse_rules",
    "points_of",
    "resolve_points",
    "selects",
    "threshold",
]
