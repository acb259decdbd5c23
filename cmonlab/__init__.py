"""cmonlab: a research workbench for the networks of containers.

>>> import cmonlab as cm
>>> session = cm.open("runs/first")
>>> session.breakdown()
"""

from importlib import import_module as _import_module
from importlib import metadata as _metadata
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from . import errors, plot, schema
    from .errors import CmonlabError
    from .lab.topology import Container, Network, Topology, templates
    from .lab.workload import Iperf, Memcached, Sockperf
    from .live import agent
    from .points.probe import Probe
    from .recording import overhead
    from .recording.record import record
    from .recording.traced import Traced
    from .rules import Rule, load_rules
    from .session import export
    from .session.session import Session, open
    from .study import artifact, datasets
    from .study.compare.comparison import compare
    from .study.experiment.experiment import Experiment
    from .widgets.dashboard import dashboard
    from .widgets.form import rule_form
    from .widgets.magic import Shell as _Shell

__version__ = _metadata.version("cmonlab")

#: Public names and their places: a module, or an object in a module. They are loaded at first use, because an agent,
#: for instance, needs no tables and figures.
_PLACES = {
    "CmonlabError": "errors:CmonlabError",
    "Container": "lab.topology:Container",
    "Experiment": "study.experiment.experiment:Experiment",
    "Iperf": "lab.workload:Iperf",
    "Memcached": "lab.workload:Memcached",
    "Network": "lab.topology:Network",
    "Probe": "points.probe:Probe",
    "Rule": "rules:Rule",
    "Session": "session.session:Session",
    "Sockperf": "lab.workload:Sockperf",
    "Topology": "lab.topology:Topology",
    "Traced": "recording.traced:Traced",
    "agent": "live.agent",
    "artifact": "study.artifact",
    "compare": "study.compare.comparison:compare",
    "dashboard": "widgets.dashboard:dashboard",
    "datasets": "study.datasets",
    "errors": "errors",
    "export": "session.export",
    "load_rules": "rules:load_rules",
    "open": "session.session:open",
    "overhead": "recording.overhead",
    "plot": "plot",
    "record": "recording.record:record",
    "rule_form": "widgets.form:rule_form",
    "schema": "schema",
    "templates": "lab.topology.templates",
}

__all__ = [
    "CmonlabError",
    "Container",
    "Experiment",
    "Iperf",
    "Memcached",
    "Network",
    "Probe",
    "Rule",
    "Session",
    "Sockperf",
    "Topology",
    "Traced",
    "agent",
    "artifact",
    "compare",
    "dashboard",
    "datasets",
    "errors",
    "export",
    "load_ipython_extension",
    "load_rules",
    "open",
    "overhead",
    "plot",
    "record",
    "rule_form",
    "schema",
    "templates",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    value = _import_module(f".{module}", __name__)
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]


def load_ipython_extension(ipython: "_Shell") -> None:
    """Register the cell magic ``%%point``; IPython calls this function for ``%load_ext cmonlab``."""
    from .widgets.magic import register

    register(ipython)
