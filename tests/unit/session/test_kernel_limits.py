"""What a kernel lacks is reported by the preflight check, by the session and in its report."""

import platform

import numpy as np
import pytest

from cmonlab.data.store import directory as store
from cmonlab.errors import NotTraceable
from cmonlab.session.report import sections as summary
from cmonlab.session.session import Session
from cmonlab.tracing import preflight
from cmonlab.tracing.kernel import symbols
from tests.support import events


@pytest.mark.parametrize("release", ["5.12.0", "6.1.0-56-amd64", "6.12.117+deb12-amd64", "6.19-rc3+", "10.0"])
def test_supported_kernels_are_accepted(monkeypatch, release):
    monkeypatch.setattr(platform, "release", lambda: release)
    assert release in preflight._kernel()


@pytest.mark.parametrize("release", ["4.18.0-553.el8.x86_64", "5.4.0-150-generic", "5.11.22", "5.9+"])
def test_old_kernels_are_refused(monkeypatch, release):
    monkeypatch.setattr(platform, "release", lambda: release)
    with pytest.raises(NotTraceable, match=r"5\.12") as refused:
        preflight._kernel()
    assert refused.value.fix


def test_lockdown_for_confidentiality_is_refused(monkeypatch, tmp_path):
    lockdown = tmp_path / "lockdown"
    monkeypatch.setattr(preflight, "_LOCKDOWN", lockdown)
    for text in ("[none] integrity confidentiality\n", "none [integrity] confidentiality\n"):
        lockdown.write_text(text)
        assert preflight._kernel()
    lockdown.write_text("none integrity [confidentiality]\n")
    with pytest.raises(NotTraceable, match="confidentiality") as refused:
        preflight._kernel()
    assert "lockdown=integrity" in refused.value.fix


def test_kernel_without_drop_reasons_has_not_specified_only():
    assert symbols.drop_reasons({}) == {"0": "NOT_SPECIFIED"}
    assert symbols.drop_reasons({2: "SKB_DROP_REASON_NO_SOCKET", 0x10003: "SKB_DROP_REASON_X"}) == {
        "2": "NO_SOCKET",
        str(1 << 12 | 3): "X",
    }


@pytest.mark.parametrize("missing", [["net_dev_queue", "kfree_skb"], []])
def test_session_and_report_name_missing_points(missing):
    described = events.manifest()
    described["missing"] = missing
    session = Session(store.empty_columns(), described)
    notes = " ".join(summary._notes(session))
    for text in (repr(session), notes):
        assert ("lacked" in text) == bool(missing)
        assert not missing or "net_dev_queue, kfree_skb" in text


def test_datagram_is_delivered_where_its_reader_frees_it():
    """Before Linux 6.3, send and delivery have the same buffer; events lost at other points do not matter."""
    hops = [(0, events.C1, 2), (3, events.C0, 2), (9, events.C0, 0), (6, 0, 0)]
    count = len(hops)
    rows = {
        "ts_ns": np.arange(1, count + 1) * 1000,
        "point": [hop[0] for hop in hops],
        "netns": [hop[1] for hop in hops],
        "ifindex": [hop[2] for hop in hops],
        "skb": [0xFFFF888000000000] * count,
        "proto": [17] * count,
        "sport": [1] * count,
        "dport": [2] * count,
        "saddr": [11] * count,
        "daddr": [10] * count,
        "seq": [7] * count,
        "len_bytes": [68] * count,
    }
    described = events.manifest(lost=1)
    described["points"] = [point for point in described["points"] if point["name"] != "sock_recv_length"]
    described["ledger"] = [row for row in described["ledger"] if row["point"] != "sock_recv_length"]
    journeys = Session(
        events.columns({name: np.array(values) for name, values in rows.items()}, count), described
    ).journeys()
    assert journeys["outcome"].tolist() == ["delivered"]
    assert journeys["hops"].tolist() == [3]
    assert journeys["one_way_delay_ns"].tolist() == [2000]
