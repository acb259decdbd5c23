"""A recording in a real Jupyter kernel: its bar, and what an interrupt leaves."""

import time
from pathlib import Path

import pytest

from .conftest import owned, wait_for

pytestmark = pytest.mark.docker
manager = pytest.importorskip("jupyter_client.manager", reason="optional: no Jupyter kernel is installed")

CELL = """
with cm.templates.bridge(containers=2).deploy() as lab:
    session = cm.record(lab, cm.Sockperf(protocol="udp"), duration_s={seconds})
"""


class Kernel:
    """A kernel that runs cells and keeps what they show."""

    def __init__(self):
        self.manager, self.client = manager.start_new_kernel(kernel_name="python3")

    def start(self, code):
        return self.client.execute(code)

    def shown(self, request, until, seconds=120):
        """Return what a cell shows until a message for which `until` holds."""
        deadline, found = time.monotonic() + seconds, []
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["parent_header"].get("msg_id") == request:
                found.append(message)
                if until(message):
                    return found
        raise AssertionError(f"it never came: {found}")

    def run(self, code, seconds=120):
        request = self.start(code)
        shown = self.shown(request, lambda m: m["content"].get("execution_state") == "idle", seconds)
        errors = [m["content"] for m in shown if m["msg_type"] == "error"]
        assert not errors, "\n".join(errors[0]["traceback"])
        return shown

    def value(self, expression):
        shown = self.run(f"print({expression})")
        return "".join(m["content"]["text"] for m in shown if m["msg_type"] == "stream").strip()


@pytest.fixture
def kernel(client):
    """A kernel with cmonlab imported."""
    kernel = Kernel()
    try:
        kernel.run("import os; os.chdir('/'); import cmonlab as cm")
        yield kernel
    finally:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)


def looks(shown, kind="text/plain"):
    return [
        m["content"]["data"].get(kind, "") for m in shown if m["msg_type"] in ("display_data", "update_display_data")
    ]


def programs(pid):
    """Return the descriptors of eBPF programs, maps and links that a process holds."""
    held = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if "bpf" in target:
            held.append(target)
    return held


def test_interrupted_cell_leaves_nothing_and_runs_again(kernel, client):
    def left():
        return owned(client, pid)

    pid = int(kernel.value("os.getpid()"))
    request = kernel.start(CELL.format(seconds=60))
    shown = kernel.shown(request, lambda m: any("events" in look for look in looks([m])))
    assert programs(pid) and len(left()) == 3
    assert any("<progress" in look for look in looks(shown, "text/html"))
    kernel.manager.interrupt_kernel()
    shown = kernel.shown(request, lambda m: m["content"].get("execution_state") == "idle")
    assert not [m for m in shown if m["msg_type"] == "error"]
    assert looks(shown)[-1].startswith("sockperf-udp: interrupted after")
    assert kernel.value("session.manifest['recording']['ended']") == "interrupted"
    assert wait_for(lambda: not left()) and not programs(pid)
    shown = kernel.run(CELL.format(seconds=1))
    assert looks(shown)[-1].startswith("sockperf-udp: done after")
    assert kernel.value("session.manifest['recording']['ended']") == "finished"
    assert int(kernel.value("len(session.journeys())")) > 100
    assert not left() and not programs(pid)
