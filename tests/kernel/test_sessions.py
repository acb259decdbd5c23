"""From live recordings to tables that add up, and to a directory that anybody can open."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import cmonlab
from cmonlab.data.analysis.times import QUANTILES
from cmonlab.study.testbed.traffic import exchange_udp, free_port, recording, send_tcp

TABLES = ("breakdown", "journeys", "drops", "throughput", "ledger", "links", "hops")


@pytest.fixture(scope="module")
def session(lab):
    """UDP and TCP, IPv4 and IPv6, and packets for a closed port."""
    udp, tcp, closed = free_port(), free_port(), free_port()
    with recording(lab, f"port {udp} or port {tcp} or port {closed}") as done:
        for version in (4, 6):
            exchange_udp(lab, udp, 100, version, 300)
            send_tcp(lab, tcp, 1_000_000, version)
        lab.call("c1", send_to_nobody, closed)
    assert done.session.lost_events == 0
    return done.session


def send_to_nobody(port):
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(3):
            sock.sendto(b"nobody listens", ("10.77.0.10", port))


def test_segments_add_up_to_the_one_way_delay(session):
    journeys, hops = session.journeys(), session.hops()
    complete = journeys[journeys["complete"]].set_index("journey")
    assert len(complete) > 600
    assert set(complete["proto"]) == {"udp", "tcp"}
    assert set(complete["direction"]) == {"c1 → c0", "c0 → c1"}
    assert (hops["segment_ns"] >= 0).all()
    sums = hops.groupby("journey")["segment_ns"].sum()
    assert sums.equals(complete["one_way_delay_ns"].rename("segment_ns"))
    ends = hops.groupby("journey")["ts_ns"]
    assert ((ends.max() - ends.min()) == complete["one_way_delay_ns"]).all()


def test_breakdown_agrees_with_the_hops(session):
    journeys, hops = session.journeys().set_index("journey"), session.hops()
    segments = hops[hops["segment"] != ""]
    direction = journeys["direction"].loc[segments["journey"]].astype(str).to_numpy()
    breakdown = session.breakdown()
    assert np.allclose(breakdown.groupby("direction", observed=True)["share"].sum(), 1, rtol=0, atol=1e-12)
    assert not breakdown.duplicated(["direction", "segment"]).any()
    assert breakdown["n"].sum() == len(segments)
    for row in breakdown.itertuples():
        times = segments["segment_ns"][(segments["segment"] == row.segment) & (direction == row.direction)].to_numpy()
        assert row.n == len(times)
        assert row.mean_ns == pytest.approx(times.mean(), rel=1e-12)
        for name, quantile in QUANTILES.items():
            assert getattr(row, name) == pytest.approx(np.quantile(times, quantile), rel=1e-12)
        delays = journeys["one_way_delay_ns"][journeys["complete"] & (journeys["direction"] == row.direction)]
        assert row.share == pytest.approx(times.sum() / delays.sum(), rel=1e-12)


def test_saved_session_is_the_same_when_opened(session, tmp_path):
    again = cmonlab.open(session.save(tmp_path / "run"))
    assert again.manifest == {"format": 2, **session.manifest}
    assert again.events.equals(session.events)
    for name in TABLES:
        assert again.table(name).equals(session.table(name)), name
    assert repr(again) == repr(session)


READ = """
import sys
sys.modules["bcc"] = sys.modules["docker"] = sys.modules["pyroute2"] = None
import cmonlab, hashlib, inspect, os, pandas
if os.getuid() == 0:  # the interpreter is where only root can read: load all of it first
    import plotly.io, plotly.graph_objects, pyarrow.parquet, cmonlab.session.figures
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
assert os.getuid() == 65534
session = cmonlab.open(sys.argv[1])
for name in sys.argv[2:]:
    print(name, hashlib.sha256(session.table(name).to_csv().encode()).hexdigest())
plots = [name for name in dir(session.plot) if not name.startswith("_") and callable(getattr(session.plot, name))]
for name in plots:
    figure = getattr(session.plot, name)()
    assert len(figure.to_json()) > 1000, name
print("figures", len(plots))
"""


def test_session_opens_and_plots_without_root_and_bcc(session):
    """No root, no bcc, no docker, no netlink."""
    import hashlib

    home = Path(tempfile.mkdtemp(prefix="cmonlab-test-"))
    try:
        home.chmod(0o755)
        session.save(home / "run")
        argv = [sys.executable, "-c", READ, str(home / "run"), *TABLES]
        environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        try:
            probe = [sys.executable, "-c", "import cmonlab"]
            can = subprocess.run(probe, env=environment, cwd=home, capture_output=True, **nobody).returncode == 0
        except PermissionError:
            can = False
        ran = subprocess.run(argv, env=environment, cwd=home, capture_output=True, text=True, **(nobody if can else {}))
        assert ran.returncode == 0, ran.stderr
        said = dict(line.split() for line in ran.stdout.splitlines())
        for name in TABLES:
            assert said[name] == hashlib.sha256(session.table(name).to_csv().encode()).hexdigest(), name
        assert int(said["figures"]) >= 5
    finally:
        shutil.rmtree(home)
