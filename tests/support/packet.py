"""A packet of a made network."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Packet:
    """One packet: its fields, what is left of its way, and its events so far."""

    number: int
    fields: dict
    payload: int
    nat: bool = False
    lost: bool = False  # dropped by the network
    way: list = field(default_factory=list)
    hops: list = field(default_factory=list)
    holds: list = field(default_factory=list)  # TCP: segments whose bytes its buffer holds
    taken: int = 0
    position: int = 0
    once: bool = True  # is sent only once, and so may be merged
