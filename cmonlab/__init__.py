"""cmonlab: a research workbench for the networks of containers.

>>> import cmonlab as cm
>>> session = cm.open("runs/first")
>>> session.breakdown()
"""

from importlib import metadata as _metadata

from . import errors, plot, schema
from .errors import CmonlabError
from .probe import Probe
from .record import record
from .session import Session, open
from .topology import templates
from .workload import Iperf, Memcached

__version__ = _metadata.version("cmonlab")

__all__ = [
    "CmonlabError",
    "Iperf",
    "Memcached",
    "Probe",
    "Session",
    "errors",
    "load_ipython_extension",
    "open",
    "plot",
    "record",
    "schema",
    "templates",
]


def load_ipython_extension(ipython) -> None:
    """Make ``%%point`` known to a notebook; IPython calls it for ``%load_ext cmonlab``."""
    from .magic import register

    register(ipython)
