"""Waiting for what servers do, and a server that nobody owns."""

import json
import subprocess
import time
from pathlib import Path

from cmonlab.live.transport.server import find_binary

WAIT_S = 5.0


def until(condition, seconds=WAIT_S):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.002)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def orphan(directory, label, port=-1):
    """Start a server as `NatsServer` does, with another owner and nobody to end it."""
    directory.mkdir()
    (directory / "owner").write_text(label)
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "pid_file": str(directory / "nats.pid"),
        "ports_file_dir": str(directory),
    }
    (directory / "nats.json").write_text(json.dumps(settings))
    process = subprocess.Popen([find_binary(), "--config", directory / "nats.json"], stderr=subprocess.DEVNULL)
    until(lambda: any(directory.glob("*.ports")))
    return process
