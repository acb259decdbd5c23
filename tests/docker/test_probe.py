"""A researcher's own point, from record() to a saved session."""

import pytest

import cmonlab as cm
from cmonlab.errors import UnknownName


def test_custom_probe_is_recorded_joined_and_saved(lab, tmp_path):
    cwnd = cm.Probe(
        "cwnd",
        at="tcp_probe",
        socket=0,
        fields={"snd_cwnd": "u32"},
        reads=["tcp_sock.snd_cwnd"],
        body="out->snd_cwnd = READ(((struct tcp_sock *)sk)->snd_cwnd);",
    )
    taken = cm.Probe(
        "taken", at="netif_receive_skb", packet=0, fields={"bytes": "u32"}, body="out->bytes = READ(skb->len);"
    )
    session = cm.record(lab, cm.Memcached(server="c0", client="c1"), duration_s=1, probes=[cwnd, taken])
    windows, packets = session.probe("cwnd"), session.probe("taken")
    assert (windows["snd_cwnd"] >= 1).all() and len(windows) > 100
    assert len(packets) > 100 and (packets["journey"] >= 0).mean() > 0.9
    ledger = session.ledger().set_index("point")
    assert ledger.loc["taken", "recorded"] == len(packets)
    session.save(tmp_path / "s")
    assert cm.open(tmp_path / "s").probe("cwnd")["snd_cwnd"].tolist() == windows["snd_cwnd"].tolist()
    with pytest.raises(UnknownName):
        session.probe("cwn")
