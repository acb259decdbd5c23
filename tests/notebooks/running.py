"""Runs a notebook as a reader would: every cell, in order, in a fresh kernel."""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def run(notebook: Path, *, live: bool) -> None:
    """Run a notebook with nbval (lax: a cell fails by an error, not by another output)."""
    environment = {name: value for name, value in os.environ.items() if name != "CMONLAB_LIVE"}
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300", "-p", "no:cacheprovider", "-q"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(notebook)],
        env=environment | ({"CMONLAB_LIVE": "1"} if live else {}),
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
