"""``cmonlab demo``, twice into one directory."""

import json
import os

import pytest

import cmonlab as cm

from .test_record import cmonlab

pytestmark = pytest.mark.docker


def test_demo_runs_again_into_the_same_directory(client, tmp_path):
    out, seen = tmp_path / "demo", []
    for _ in range(2):
        done = cmonlab("demo", "--duration", "1", "--out", out)
        assert done.returncode == 0 and f"report: {out}/report.html" in done.stdout, done
        seen.append([json.loads((out / name / "manifest.json").read_text())["recording"] for name in _NAMES])
        assert sorted(os.listdir(out)) == [*_NAMES, "report.html"]
    assert all(first["started_ns"] < second["started_ns"] for first, second in zip(*seen, strict=True))
    for name in _NAMES:
        session = cm.open(out / name)
        assert session.manifest["workload"]["name"] == name and session.journeys()["complete"].any()
        breakdown, journeys = session.breakdown(), session.journeys()
        total = (breakdown["mean_ns"] * breakdown["n"]).sum()
        assert total == pytest.approx(journeys.loc[journeys["complete"], "one_way_delay_ns"].sum(), rel=1e-9)
    page = (out / "report.html").read_text()
    assert page.count("<section") >= len(_NAMES) and 'src="http' not in page
    blocked = out / "memcached" / "manifest.json"
    blocked.unlink()
    refused = cmonlab("demo", "--duration", "1", "--out", out)
    assert refused.returncode == 1 and "memcached" in refused.stderr and "not an empty directory" in refused.stderr


_NAMES = ["iperf-tcp", "iperf-udp", "memcached"]
