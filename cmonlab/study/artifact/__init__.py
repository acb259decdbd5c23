"""Artifacts: a project in one archive that anyone can check and run again.

`pack` makes one of a folder, `check` tells what of it agrees here and what differs by how much, `reproduce` keeps what
comes out. In a notebook `result` declares the numbers that must come out again.
"""

from .check import check, reproduce
from .difference import Difference
from .pack import pack
from .report import Finding, Report
from .results import declared, result

__all__ = ["Difference", "Finding", "Report", "check", "declared", "pack", "reproduce", "result"]
