"""Topologies: their description, templates, and their deployment with Docker.

Importing this package needs no Docker.
"""

from .model import Container, Network, Topology, TopologyError

__all__ = ["Container", "Network", "Topology", "TopologyError"]
