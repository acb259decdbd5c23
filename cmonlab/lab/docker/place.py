"""Where an engine of our own lives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .client import connect


@dataclass(frozen=True)
class Place:
    """Directories of our own engine.

    Attributes
    ----------
    run : Path
        Socket, pid files, log and locks.
    data : Path
        Images and layers; kept, so that the workload image is built once.
    """

    run: Path = Path("/run/cmonlab")
    data: Path = Path("/var/lib/cmonlab/docker")

    @property
    def socket(self) -> Path:
        """Where the engine listens."""
        return self.run / "docker.sock"

    @property
    def log(self) -> Path:
        """What the engine of the last start wrote."""
        return self.run / "dockerd.log"

    def connect(self):
        """Return a client of the engine here, None when none answers."""
        return connect(f"unix://{self.socket}") if os.path.exists(self.socket) else None


HERE = Place()
