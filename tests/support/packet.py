"""A packet of a simulated network."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Packet:
    """One packet: its fields, the rest of its path, and its events so far."""

    number: int
    fields: dict
    payload: int
    nat: bool = False
    lost: bool = False  # dropped by the network
    path: list = field(default_factory=list)
    hops: list = field(default_factory=list)
    holds: list = field(default_factory=list)  # TCP: segments merged into its buffer
    taken: int = 0
    position: int = 0
    once: bool = True  # sent only once, so it may be merged
