"""Model of a rule, the same for Python, YAML and JSON.

docs/rules.md explains every field; ``cmonlab rules schema`` prints them as JSON schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from cmonlab.filters.pcapfilter import MAX_CHARACTERS

from .budget import Budget
from .problems import QUOTE, rule_error, short

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # pydantic exports it under no public name

#: Largest number of rules that are active at a time: the number of bits of hop.rules in bpf/records.h.
MAX_RULES = 16

_LONGEST_S = 366 * 86400
_MOST_EVENTS = 1_000_000_000
_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600}
_SHARE = re.compile(r"([0-9]{0,20}\.?[0-9]{1,20}(?:[eE]-?[0-9]{1,3})?)\s*(%?)")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(s|min|h|)")


@dataclass(frozen=True)
class ContainerFacts:
    """Properties of a container that selectors compare.

    Attributes
    ----------
    name : str
        Name in the engine or the topology.
    image : str
        Image as it was given when the container was created, for instance ``nginx:1.27``.
    labels : mapping of str to str
        Docker labels.
    networks : tuple of str
        Names of the networks that the container is attached to.
    interfaces : tuple of str
        Names of its interfaces; no selector uses them.
    """

    name: str
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()


class _RaisesRuleError(ModelMetaclass):
    """Metaclass of models whose constructor raises RuleError.

    A parent model validates its parts without calling their constructors, so pydantic still collects all violations.
    """

    def __call__(cls, /, **fields: Any) -> Any:
        try:
            return super().__call__(**fields)
        except ValidationError as error:
            raise rule_error(error, cast("type[BaseModel]", cls), fields) from None


class _Part(BaseModel, metaclass=_RaisesRuleError):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _one_or_more(most: int) -> Callable[[Any], Any]:
    """Return a validator that turns a list or a single value into a tuple of 1 to `most` values.

    It checks the length itself, because pydantic would count only the values that are valid.
    """

    def as_tuple(value: Any) -> Any:
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not 1 <= len(values) <= most:
            raise ValueError(f"must have from 1 to {most} entries, not {len(values)}")
        return values

    return as_tuple


def _labels(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    for key, wanted in value.items():
        if not isinstance(key, str) or not isinstance(wanted, str | None):
            raise ValueError(f"the key and the value of label {short(key)} must be text", QUOTE)
        if "=" in key:
            raise ValueError(f"the label's key {short(key)} contains '='", "write {key: value} or key=value")
    return [key if wanted is None else f"{key}={wanted}" for key, wanted in value.items()]


def _share(value: Any) -> Any:
    found = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(found[1]) / (100 if found[2] else 1) if found else value


def _duration_s(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if not found:
        raise ValueError("must be seconds, or text such as 30s, 5min, 2h; without it, the rule does not end")
    return float(found[1]) * _SECONDS[found[2]]


def _overhead(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"must be text with a unit, such as 3% or 800ns, not {short(value)}")
    return Budget.parse(value).text()


def _match_fields(value: Any) -> Any:
    return {"packets": value} if isinstance(value, str) else value


_Pattern = Annotated[str, Field(min_length=1, max_length=255)]
_Label = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^=]")]
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$")]
_Patterns = Annotated[
    tuple[_Pattern, ...], BeforeValidator(_one_or_more(64), json_schema_input_type=_Pattern | list[_Pattern])
]
_Labels = Annotated[
    tuple[_Label, ...],
    BeforeValidator(_one_or_more(64)),
    BeforeValidator(_labels, json_schema_input_type=_Label | list[_Label] | dict[str, str | None]),
]
_Words = Annotated[tuple[_Word, ...], BeforeValidator(_one_or_more(128), json_schema_input_type=_Word | list[_Word])]


class Containers(_Part):
    """Selectors of containers: each field that is given must match, by any of its values."""

    name: _Patterns | None = Field(
        None, description="Shell patterns (* ? [a-z]) for the container's name.", examples=["web-*"]
    )
    image: _Patterns | None = Field(
        None,
        description="Shell patterns for the image as it was given when the container was created, tag included.",
        examples=["nginx*"],
    )
    label: _Labels | None = Field(
        None, description="Labels: key, key=value, or a mapping of keys to values.", examples=["tier=front"]
    )
    network: _Patterns | None = Field(
        None, description="Shell patterns for the name of a network of the container.", examples=["mynet"]
    )

    @model_validator(mode="after")
    def _not_empty(self) -> Containers:
        if all(value is None for _, value in self):
            raise ValueError("it has no selector", "give name, image, label or network, or leave `containers` out")
        return self


class Match(_Part):
    """Packets that a rule matches."""

    packets: str = Field(
        "",
        max_length=MAX_CHARACTERS,
        description="Expression of pcap-filter(7), from the IP header on; empty text matches every IP packet.",
        examples=["tcp port 80"],
    )
    containers: Containers | None = Field(
        None,
        description="Only packets from or to the selected containers; by default, packets of the whole host.",
        examples=[{"name": "web-*"}],
    )
    direction: Literal["in", "out", "both"] = Field(
        "both",
        description="As seen from the selected containers: packets to them, from them, or both.",
        examples=["in"],
    )

    @model_validator(mode="after")
    def _direction_needs_containers(self) -> Match:
        if self.direction != "both" and self.containers is None:
            raise ValueError(
                f"direction {self.direction!r} is as seen from containers", "select some with `containers`"
            )
        return self


class Rule(_Part):
    """What to trace, where, how, and how often.

    docs/rules.md describes the fields, which are keyword arguments.

    Raises
    ------
    RuleError
        Fields are unknown, missing or wrong; the message lists all of them.

    Examples
    --------
    >>> Rule(name="web", match="tcp port 80", sample="10%").sample
    0.1
    """

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$",
        description="Name, unique among active rules: small letters, digits, and _ . - inside.",
        examples=["web"],
    )
    match: Annotated[Match, BeforeValidator(_match_fields, json_schema_input_type=Match | str)] = Field(
        description="Which packets; text is short for the field `packets`.", examples=["tcp port 80"]
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
        None, description="Key of mode aggregate: pairs of addresses (the default) or flows.", examples=["flow"]
    )
    sample: Annotated[float, BeforeValidator(_share, json_schema_input_type=float | str)] = Field(
        1.0,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Share of the packets, the same packets at every point: a number up to 1, or a percentage.",
        examples=[0.1, "10%"],
    )
    limit: int | None = Field(
        None,
        ge=1,
        le=_MOST_EVENTS,
        description="Largest number of events per second that mode capture records; by default, no limit.",
        examples=[50000],
    )
    max_overhead: Annotated[str | None, BeforeValidator(_overhead, json_schema_input_type=str | None)] = Field(
        None,
        description="Budget for the programs: a share of the kernel's time, or ns per packet. The sample shrinks "
        "before they cost more. By default, there is no budget.",
        examples=["3%", "800ns"],
    )
    duration: Annotated[float | None, BeforeValidator(_duration_s, json_schema_input_type=float | str | None)] = Field(
        None,
        gt=0,
        le=_LONGEST_S,
        allow_inf_nan=False,
        description="Seconds until the rule ends, or text such as 30s, 5min, 2h; by default, when it is removed.",
        examples=["30s", 90],
    )

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Rule:
        if self.by is not None and self.mode != "aggregate":
            raise ValueError(f"`by` belongs to mode aggregate, but this is mode {self.mode}", "leave it out")
        if self.limit is not None and self.mode != "capture":
            raise ValueError(f"`limit` is about events, but mode {self.mode} records none", "use `sample`")
        return self

    @property
    def budget(self) -> Budget | None:
        """Budget of the rule, None without one."""
        return None if self.max_overhead is None else Budget.parse(self.max_overhead)

    @classmethod
    def from_expression(cls, expression: str, name: str = "packets", **fields: Any) -> Rule:
        """Return the rule that matches a pcap expression.

        Parameters
        ----------
        expression : str
            Expression in the language of pcap-filter(7); the empty text matches every IP packet.
        name : str
            Name of the rule.
        **fields
            Other fields of the rule, for instance ``mode="aggregate"``.

        Returns
        -------
        Rule
            The rule.

        Raises
        ------
        RuleError
            A field is unknown or wrong. The expression is compiled later, by `compile_rules`.
        """
        return cls(name=name, match=expression, **fields)


class RuleSet(_Part):
    """Rules of a file, or rules that are active at the same time."""

    rules: Annotated[
        tuple[Rule, ...],
        BeforeValidator(
            _one_or_more(MAX_RULES),
            json_schema_input_type=Annotated[list[Rule], Field(min_length=1, max_length=MAX_RULES)],
        ),
    ] = Field(description="At least one rule; no two have the same name.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> RuleSet:
        names = [rule.name for rule in self.rules]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(f"more than one rule has the name {duplicates[0]!r}", "give each rule its own name")
        return self
