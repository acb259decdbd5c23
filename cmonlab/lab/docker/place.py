"""The directories of cmonlab's own engine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .client import connect

if TYPE_CHECKING:
    from .client import DockerClient


@dataclass(frozen=True)
class Place:
    """Directories of cmonlab's own engine.

    Attributes
    ----------
    run : Path
        Socket, pid files, log and locks.
    data : Path
        Images and layers; they stay, so that the workload image is built only once.
    """

    run: Path = Path("/run/cmonlab")
    data: Path = Path("/var/lib/cmonlab/docker")

    @property
    def socket(self) -> Path:
        """The socket on which the engine listens."""
        return self.run / "docker.sock"

    @property
    def log(self) -> Path:
        """The log of the engine since its last start."""
        return self.run / "dockerd.log"

    def connect(self) -> DockerClient | None:
        """Return a client of the engine in these directories, None if none answers."""
        return connect(f"unix://{self.socket}") if os.path.exists(self.socket) else None


HERE = Place()
