"""Artifacts: a project in one archive that anyone can check and run again.

`pack` makes an artifact of a folder. `check` reports what agrees on this machine, and what differs by how much.
`reproduce` does the same and keeps the outputs. In a notebook, `result` declares the numbers that a check compares.
"""

from .check import check, reproduce
from .difference import Difference
from .pack import pack
from .report import Finding, Report
from .results import declared, result

__all__ = ["Difference", "Finding", "Report", "check", "declared", "pack", "reproduce", "result"]
