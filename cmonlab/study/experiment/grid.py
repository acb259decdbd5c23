"""The grid of an experiment: from factors and their values to runnable combinations."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmonlab.errors import CmonlabError, UnknownName, WorkloadError
from cmonlab.lab.topology import Topology
from cmonlab.lab.topology.templates.registry import TEMPLATES, parameters, template
from cmonlab.lab.workload import WORKLOADS, Workload, workload
from cmonlab.points.catalogue import BY_NAME
from cmonlab.recording.record import check_duration, rules_of
from cmonlab.rules import Rule, compile_rules

Label = str | int | float | bool
_SINGLE = (str, Path, Topology, Rule)


@dataclass(frozen=True)
class Cell:
    """One combination of the grid, checked and ready to run.

    Attributes
    ----------
    labels : dict of str to str, int, float or bool
        Factor → label of its value, as shown in tables.
    topology : Topology
        The network to deploy.
    workload : Workload
        The load to run.
    rules : tuple of Rule
        Rules to record with.
    duration_s : float
        How long the workload runs, in seconds.
    """

    labels: dict[str, Label]
    topology: Topology
    workload: Workload
    rules: tuple[Rule, ...]
    duration_s: float

    def describe(self) -> dict[str, Any]:
        """Return the combination as JSON-compatible data, for the plan."""
        return {
            "labels": self.labels,
            "topology": self.topology.describe(),
            "workload": self.workload.describe(),
            "rules": [rule.model_dump(mode="json") for rule in self.rules],
            "duration_s": self.duration_s,
        }


def factors_of(grid: Mapping[str, Any]) -> dict[str, dict[Label, Any]]:
    """Return each factor's values by their labels.

    Parameters
    ----------
    grid : mapping of str to values
        As of `Experiment`.

    Returns
    -------
    dict of str to dict
        Factor → label → value; ``template`` is always among the factors.

    Raises
    ------
    WorkloadError
        There is no workload, a factor has no values, or two of its values have the same label.
    """
    if "workload" not in grid:
        raise WorkloadError("an experiment needs a workload", fix='for instance grid={"workload": ["memcached"], …}')
    template: dict[str, dict[Label, Any]] = {"template": {"bridge": "bridge"}}
    return template | {name: _labelled(name, values) for name, values in grid.items()}


def _labelled(factor: str, values: Any) -> dict[Label, Any]:
    if isinstance(values, Mapping):
        found = list(values.items())
    else:
        single = isinstance(values, _SINGLE) or not isinstance(values, Iterable)
        listed = [values] if single else list(values)
        found = list(zip(_labels(listed), listed, strict=True))
    names = [label for label, _ in found]
    if not names:
        raise WorkloadError(f"the factor {factor!r} has no values", fix="give at least one")
    if twice := {label for label in names if names.count(label) > 1}:
        raise WorkloadError(
            f"two values of the factor {factor!r} have the label {twice.pop()!r}",
            fix=f'name them: "{factor}": {{"one": …, "other": …}}',
        )
    return dict(found)


def _labels(values: Sequence[Any]) -> list[Label]:
    names = [_label(value) for value in values]
    return [
        _distinct(value, values) if names.count(name) > 1 else name for name, value in zip(names, values, strict=True)
    ]


def _label(value: Any) -> Label:
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Path):
        return value.stem
    return getattr(value, "name", None) or getattr(value, "template", None) or str(value)


def _distinct(value: Any, values: Sequence[Any]) -> Label:
    """Return a workload's name with the parameters in which it differs from workloads of the same name."""
    if not dataclasses.is_dataclass(value) or isinstance(value, Topology):
        return _label(value)
    alike = [other for other in values if dataclasses.is_dataclass(other) and _label(other) == _label(value)]
    own = [
        f"{field.name}={getattr(value, field.name)}"
        for field in dataclasses.fields(value)
        if len({str(getattr(other, field.name, None)) for other in alike}) > 1
    ]
    return f"{_label(value)}({', '.join(own)})" if own else _label(value)


def cells_of(factors: Mapping[str, Mapping[Label, Any]], duration_s: float) -> list[Cell]:
    """Return every combination of the factors' values.

    Parameters
    ----------
    factors : mapping of str to mapping
        Factor → label → value, from `factors_of`.
    duration_s : float
        How long the workload runs in seconds, unless ``duration_s`` is a factor.

    Returns
    -------
    list of Cell

    Raises
    ------
    CmonlabError
        A combination is not possible; all are checked before any is run.
    """
    names = list(factors)
    cells = []
    for labels in itertools.product(*factors.values()):
        chosen = dict(zip(names, labels, strict=True))
        try:
            cells.append(_cell(chosen, {name: factors[name][label] for name, label in chosen.items()}, duration_s))
        except CmonlabError as error:
            combination = ", ".join(f"{name} {label}" for name, label in chosen.items())
            error.add_note(f"in the combination {combination}")
            raise
    return cells


def _cell(labels: dict[str, Label], values: dict[str, Any], duration_s: float) -> Cell:
    network, load, rule = values.pop("template"), values.pop("workload"), values.pop("rule", None)
    duration_s, points = values.pop("duration_s", duration_s), values.pop("points", None)
    check_duration(duration_s)
    of_template = parameters(TEMPLATES[network]) if isinstance(network, str) and network in TEMPLATES else ()
    of_workload = _parameters(load)
    for name in values:
        if name not in (*of_template, *of_workload):
            known = ["template", "workload", "rule", "duration_s", "points", *of_template, *of_workload]
            raise UnknownName("factor", name, known)
    theirs = {name: value for name, value in values.items() if name in of_template}
    topology = network if isinstance(network, Topology) else template(network, **theirs)
    mine = {name: value for name, value in values.items() if name not in of_template}
    load = workload(load, **mine) if isinstance(load, str) else dataclasses.replace(load, **mine) if mine else load
    points = [points] if isinstance(points, str) else points
    rules = tuple(rules_of(load.default_rule if rule is None else rule, points))
    compile_rules(list(rules), list(BY_NAME))  # refuses expressions that libpcap does not accept
    for name in load.containers:
        if name not in topology.names:
            raise UnknownName("container", name, topology.names)
    return Cell(labels, topology, load, rules, float(duration_s))


def _parameters(load: str | Workload) -> tuple[str, ...]:
    if isinstance(load, str):
        load = workload(load) if load in WORKLOADS else load
    return tuple(field.name for field in dataclasses.fields(load)) if dataclasses.is_dataclass(load) else ()
