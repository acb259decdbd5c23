"""cmonlab: a research workbench for the networks of containers.

>>> import cmonlab as cm
>>> session = cm.open("runs/first")
>>> session.breakdown()
"""

from importlib import import_module as _import_module
from importlib import metadata as _metadata
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from . import (
        agent,
        artifact,
        datasets,
        errors,
        export,
        plot,
        schema,
    )
    from .comparison import compare
    from .errors import CmonlabError
    from .experiment import Experiment
    from .probe import Probe
    from .recording import record
    from .rules import Rule, load_rules
    from .session import Session, open
    from .topology import templates
    from .widgets import dashboard, rule_form
    from .workload import Iperf, Memcached, Sockperf

__version__ = _metadata.version("cmonlab")

#: Public names and where they are. They are loaded when they are used: an agent has no need of tables and figures.
_PLACES = {
    "CmonlabError": "errors",
    "Experiment": "experiment",
    "Iperf": "workload",
    "Memcached": "workload",
    "Probe": "probe",
    "Rule": "rules",
    "Session": "session",
    "Sockperf": "workload",
    "agent": "",
    "artifact": "",
    "compare": "comparison",
    "dashboard": "widgets",
    "datasets": "",
    "errors": "",
    "export": "",
    "load_rules": "rules",
    "open": "session",
    "plot": "",
    "record": "recording",
    "rule_form": "widgets",
    "schema": "",
    "templates": "topology",
}

__all__ = [
    "CmonlabError",
    "Experiment",
    "Iperf",
    "Memcached",
    "Probe",
    "Rule",
    "Session",
    "Sockperf",
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
    "plot",
    "record",
    "rule_form",
    "schema",
    "templates",
]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = _PLACES[name]
    module = _import_module(f".{place or name}", __name__)
    value = getattr(module, name) if place else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]


def load_ipython_extension(ipython) -> None:
    """Make ``%%point`` known to a notebook; IPython calls it for ``%load_ext cmonlab``."""
    from .magic import register

    register(ipython)
