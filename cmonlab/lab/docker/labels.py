"""The labels that say which run and which process a container belongs to."""

from __future__ import annotations

from cmonlab.system.ownership import alive, me

RUN_LABEL = "cmonlab"
NAME_LABEL = "cmonlab.name"
OWNER_LABEL = "cmonlab.owner"
# Addresses that a lab gave, where the engine gives none.
ADDRESS_LABEL = "cmonlab.address"

__all__ = ["ADDRESS_LABEL", "NAME_LABEL", "OWNER_LABEL", "RUN_LABEL", "alive", "me"]
