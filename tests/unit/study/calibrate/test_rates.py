"""Round-trip times from journeys, and the output of ss."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cmonlab.errors import WorkloadError
from cmonlab.study.calibrate.groups.roundtrips import round_trips
from cmonlab.study.testbed.programs import sockets

MS = 1_000_000
LINE = (
    "0 0 10.77.0.11:37828 10.77.0.10:21697 bbr wscale:10,10 rto:204 rtt:0.029/0.016 mss:1448"
    " bytes_sent:1000 bytes_acked:1001 bytes_received:300 pacing_rate 10031923320bps delivery_rate 1448000000bps\n"
)


def session_of(rows):
    columns = ["direction", "start_ns", "one_way_delay_ns", "payload_bytes", "outcome", "complete"]
    return SimpleNamespace(journeys=lambda: pd.DataFrame(rows, columns=columns))


def messages(count, took_ns, unseen=(), unanswered=()):
    """Return journeys of a ping-pong, one message per millisecond; some messages or answers are not seen."""
    rows = []
    for number in range(count):
        begin = number * MS
        if number not in unseen:
            rows.append(("c1 → c0", begin, 5000, 64, "delivered", True))
        if number not in unanswered:
            rows.append(("c0 → c1", begin + took_ns - 4000, 4000, 64, "delivered", True))
    return rows


def test_round_trips_cover_the_measurement_time_of_sockperf():
    assert set(round_trips(session_of(messages(1000, 12_345)))) == {12_345}
    assert len(round_trips(session_of(messages(1000, 12_345)))) == 999 - 400 - 50 - 1


def test_round_trips_skip_unseen_messages():
    took = round_trips(session_of(messages(1000, 12_345, unseen={500, 501, 700}, unanswered={600, 800, 801})))
    assert np.unique(took).tolist() == [12_345]


def test_round_trips_need_messages():
    with pytest.raises(WorkloadError, match="no message"):
        round_trips(session_of([]))


def test_sockets_parses_the_output_of_ss():
    bed = SimpleNamespace(run=lambda *words: LINE * 2)
    first, second = sockets(bed, "c1", 21697)
    assert first == second
    assert (first["local_port"], first["rtt"], first["bytes_acked"], first["bytes_received"]) == (
        37828,
        0.029,
        1001,
        300,
    )
