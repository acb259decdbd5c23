"""cmonlab: a research workbench for the networks of containers.

>>> import cmonlab as cm
>>> session = cm.open("runs/first")
>>> session.breakdown()
"""

from importlib import metadata as _metadata

from . import errors, plot, schema
from .errors import CmonlabError
from .record import record
from .session import Session, open
from .topology import templates
from .workload import Iperf, Memcached

__version__ = _metadata.version("cmonlab")

__all__ = [
    "CmonlabError",
    "Iperf",
    "Memcached",
    "Session",
    "errors",
    "open",
    "plot",
    "record",
    "schema",
    "templates",
]
