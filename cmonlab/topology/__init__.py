"""Topologies: descriptions, templates, and their deployment with Docker.

Importing this package needs no Docker; deploying does.
"""

from __future__ import annotations

from .model import Container, Network, Topology, TopologyError
from .templates import TEMPLATES, bridge, host, macvlan, template, vxlan

__all__ = [
    "TEMPLATES",
    "Container",
    "Network",
    "Topology",
    "TopologyError",
    "bridge",
    "host",
    "macvlan",
    "template",
    "vxlan",
]
