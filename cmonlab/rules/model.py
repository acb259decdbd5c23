"""The one model of a rule, for Python, YAML and JSON alike.

docs/rules.md explains every field; ``cmonlab rules schema`` prints them as JSON schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from cmonlab.filters.pcapfilter import MAX_CHARACTERS

from .budget import Budget
from .problems import QUOTE, rule_error, short

#: Rules that can be active at a time: the width of hop.rules in bpf/records.h.
MAX_RULES = 16

_LONGEST_S = 366 * 86400
_MOST_EVENTS = 1_000_000_000
_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600}
_SHARE = re.compile(r"([0-9]{0,20}\.?[0-9]{1,20}(?:[eE]-?[0-9]{1,3})?)\s*(%?)")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(s|min|h|)")


@dataclass(frozen=True)
class ContainerFacts:
    """What a container's selectors look at.

    Attributes
    ----------
    name : str
        As the engine, or the topology, calls it.
    image : str
        As it was given when the container was made, for instance ``nginx:1.27``.
    labels : mapping of str to str
    networks : tuple of str
        Names of the networks it is attached to.
    interfaces : tuple of str
        Its interfaces; nothing selects by them.
    """

    name: str
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()


class _Clear(type(BaseModel)):
    """Lets a model that is called raise RuleError; inside of another model pydantic collects."""

    def __call__(cls, /, **fields: Any):
        try:
            return super().__call__(**fields)
        except ValidationError as error:
            raise rule_error(error, cls, fields) from None


class _Part(BaseModel, metaclass=_Clear):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _several(most: int) -> Callable[[Any], Any]:
    """Return what makes a tuple of a list and of a single value.

    It looks at the length first: pydantic counts what is left of the list when the wrong
    values are gone.
    """

    def several(value: Any) -> Any:
        listed = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not 1 <= len(listed) <= most:
            raise ValueError(f"must have from 1 to {most} entries, not {len(listed)}")
        return listed

    return several


def _labels(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    for key, wanted in value.items():
        if not isinstance(key, str) or not isinstance(wanted, str | None):
            raise ValueError(f"the label {short(key)} must be text, and so must its value", QUOTE)
        if "=" in key:
            raise ValueError(f"the label's key {short(key)} holds an '='", "write {key: value} or key=value")
    return [key if wanted is None else f"{key}={wanted}" for key, wanted in value.items()]


def _share(value: Any) -> Any:
    found = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(found[1]) / (100 if found[2] else 1) if found else value


def _duration_s(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if not found:
        raise ValueError("must be seconds, or text such as 30s, 5min, 2h; left out, the rule has no end")
    return float(found[1]) * _SECONDS[found[2]]


def _overhead(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"must be text with a unit, as 3% or 800ns, not {short(value)}")
    return Budget.parse(value).told()


def _spelled_out(value: Any) -> Any:
    return {"packets": value} if isinstance(value, str) else value


_Pattern = Annotated[str, Field(min_length=1, max_length=255)]
_Label = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^=]")]
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$")]
_Patterns = Annotated[
    tuple[_Pattern, ...], BeforeValidator(_several(64), json_schema_input_type=_Pattern | list[_Pattern])
]
_Labels = Annotated[
    tuple[_Label, ...],
    BeforeValidator(_several(64)),
    BeforeValidator(_labels, json_schema_input_type=_Label | list[_Label] | dict[str, str | None]),
]
_Words = Annotated[tuple[_Word, ...], BeforeValidator(_several(128), json_schema_input_type=_Word | list[_Word])]


class Containers(_Part):
    """Selects containers: every kind that is given must hold, and of a kind any value."""

    name: _Patterns | None = Field(
        None, description="Shell patterns (* ? [a-z]) for the container's name.", examples=["web-*"]
    )
    image: _Patterns | None = Field(
        None,
        description="Shell patterns for the image as it was given when the container was made, tag included.",
        examples=["nginx*"],
    )
    label: _Labels | None = Field(
        None, description="Labels: key, key=value, or a mapping of keys to values.", examples=["tier=front"]
    )
    network: _Patterns | None = Field(
        None, description="Shell patterns for the name of a network it is attached to.", examples=["mynet"]
    )

    @model_validator(mode="after")
    def _not_empty(self) -> Containers:
        if all(value is None for _, value in self):
            raise ValueError("it selects by nothing", "give name, image, label or network, or leave `containers` out")
        return self


class Match(_Part):
    """Which packets a rule is about."""

    packets: str = Field(
        "",
        max_length=MAX_CHARACTERS,
        description="Expression of pcap-filter(7), from the IP header on; the empty text matches every IP packet.",
        examples=["tcp port 80"],
    )
    containers: Containers | None = Field(
        None,
        description="Only packets from or to the containers that are selected; left out, those of the whole host.",
        examples=[{"name": "web-*"}],
    )
    direction: Literal["in", "out", "both"] = Field(
        "both",
        description="As seen from the selected containers: packets to them, from them, or both.",
        examples=["in"],
    )

    @model_validator(mode="after")
    def _of_someone(self) -> Match:
        if self.direction != "both" and self.containers is None:
            raise ValueError(
                f"direction {self.direction!r} is as seen from containers", "select some with `containers`"
            )
        return self


class Rule(_Part):
    """What to trace, where, how, and how often.

    Raises
    ------
    RuleError
        Fields that are unknown, missing or wrong: all of them in one message.

    Examples
    --------
    >>> Rule(name="web", match="tcp port 80", sample="10%").sample
    0.1
    """

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$",
        description="Names the rule; once among the active ones. Small letters, digits, and _ . - inside.",
        examples=["web"],
    )
    match: Annotated[Match, BeforeValidator(_spelled_out, json_schema_input_type=Match | str)] = Field(
        description="Which packets; a text stands for its field `packets`.", examples=["tcp port 80"]
    )
    points: _Words = Field(
        ("default",),
        description="Where: names of points, groups of points, `default` or `all`; one, or a list.",
        examples=["default", ["path", "drops"]],
    )
    mode: Literal["capture", "aggregate", "count"] = Field(
        "capture",
        description="How: an event for every hop, histograms in the kernel, or counters alone.",
        examples=["aggregate"],
    )
    by: Literal["pair", "flow"] | None = Field(
        None, description="What mode aggregate tells apart: pairs of addresses (by itself) or flows.", examples=["flow"]
    )
    sample: Annotated[float, BeforeValidator(_share, json_schema_input_type=float | str)] = Field(
        1.0,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Share of the packets, the same ones at every point: a number up to 1, or a percentage.",
        examples=[0.1, "10%"],
    )
    limit: int | None = Field(
        None,
        ge=1,
        le=_MOST_EVENTS,
        description="Events a second that mode capture records at most; left out, all.",
        examples=[50000],
    )
    max_overhead: Annotated[str | None, BeforeValidator(_overhead, json_schema_input_type=str | None)] = Field(
        None,
        description="What the programs may cost: a share of the kernel's time, or nanoseconds a packet; less is taken "
        "of the packets before they cost more. Left out, it is not watched.",
        examples=["3%", "800ns"],
    )
    duration: Annotated[float | None, BeforeValidator(_duration_s, json_schema_input_type=float | str | None)] = Field(
        None,
        gt=0,
        le=_LONGEST_S,
        allow_inf_nan=False,
        description="Seconds until the rule ends by itself, or text such as 30s, 5min, 2h; left out, until removed.",
        examples=["30s", 90],
    )

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Rule:
        if self.by is not None and self.mode != "aggregate":
            raise ValueError(f"`by` belongs to mode aggregate, and this is mode {self.mode}", "leave it out")
        if self.limit is not None and self.mode != "capture":
            raise ValueError(f"`limit` is about events, and mode {self.mode} records none", "use `sample`")
        return self

    @property
    def budget(self) -> Budget | None:
        """What it may cost, None where that is not watched."""
        return None if self.max_overhead is None else Budget.parse(self.max_overhead)

    @classmethod
    def from_expression(cls, expression: str, name: str = "packets", **fields: Any) -> Rule:
        """Return the rule that matches a pcap expression.

        Parameters
        ----------
        expression : str
            In the language of pcap-filter(7); the empty text matches every IP packet.
        name : str
            The rule's name.
        **fields
            Of the rule, for instance ``mode="aggregate"``.
        """
        return cls(name=name, match=expression, **fields)


class RuleSet(_Part):
    """The rules of a file, or those that are active together."""

    rules: Annotated[
        tuple[Rule, ...],
        BeforeValidator(
            _several(MAX_RULES),
            json_schema_input_type=Annotated[list[Rule], Field(min_length=1, max_length=MAX_RULES)],
        ),
    ] = Field(description="At least one; no name twice.")

    @model_validator(mode="after")
    def _named_once(self) -> RuleSet:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} stands for more than one rule", "give each its own")
        return self
