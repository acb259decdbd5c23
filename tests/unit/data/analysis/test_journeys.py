"""The journeys table: names, outcomes, completeness."""

import numpy as np
import pandas as pd
import pytest

from cmonlab import schema
from cmonlab.data.store import directory
from cmonlab.session.session import Session
from tests.support.events import (
    A0,
    A1,
    BASE,
    C0,
    C1,
    DROP,
    HOST,
    PATH,
    READ,
    UDP,
    XMIT,
    bulk,
    columns,
    manifest,
)


def session_of(*hops, **fields):
    """Return a session of one packet; hops are (place, fields)."""
    base = {
        "skb": BASE,
        "saddr": A1,
        "daddr": A0,
        "sport": 40000,
        "dport": 53,
        "proto": UDP,
        "len_bytes": 68,
        "shape": 7 << 3,
        "detail": 1,
    }
    table = [
        base | fields | {"netns": hop[0], "ifindex": hop[1], "point": hop[2]} | (hop[3] if len(hop) > 3 else {})
        for hop in hops
    ]
    names = {name for row in table for name in row}
    made = {name: np.array([row.get(name, 0) for row in table], np.uint64) for name in names}
    return Session(columns(made | {"ts_ns": 1000 + 10 * np.arange(len(table))}, len(table)), manifest())


def only(session):
    table = session.journeys()
    assert len(table) == 1
    return table.iloc[0]


def test_a_read_packet_is_delivered():
    journey = only(
        session_of(
            *PATH, (C0, 0, READ, {"skb": BASE - 4096, "sport": 0, "saddr": 0, "daddr": 0, "len_bytes": 40, "detail": 0})
        )
    )
    assert journey["outcome"] == "delivered"
    assert journey["complete"]
    assert (journey["src"], journey["dst"], journey["direction"]) == ("c1", "c0", "c1 → c0")
    assert journey["path"] == "c1:eth0 → host:veth1 → br0 → host:veth0 → c0:eth0"
    assert (journey["start_ns"], journey["one_way_delay_ns"], journey["hops"]) == (1000, 80, 9)
    assert (journey["payload_bytes"], journey["len_bytes"], journey["gso_segs"], journey["proto"]) == (40, 68, 1, "udp")
    assert journey["drop_reason"] == ""


def test_a_packet_without_a_read_has_arrived():
    journey = only(session_of(*PATH))
    assert (journey["outcome"], journey["complete"]) == ("arrived", True)


@pytest.mark.parametrize("until", [1, 4, 6])
def test_a_packet_that_was_seen_in_part_is_unfinished(until):
    journey = only(session_of(*PATH[:until]))
    assert (journey["outcome"], journey["complete"]) == ("unfinished", False)


def test_a_packet_whose_begin_was_not_seen_is_incomplete():
    journey = only(session_of(*PATH[2:]))
    assert (journey["outcome"], journey["complete"]) == ("arrived", False)


@pytest.mark.parametrize(("number", "reason"), [(2, "NOT_SPECIFIED"), (77, "reason 77")])
def test_a_dropped_packet_has_its_reason(number, reason):
    session = session_of(*PATH[:4], (HOST, 0, DROP, {"detail": number, "aux": 0x1234}))
    journey = only(session)
    assert (journey["outcome"], journey["complete"], journey["drop_reason"]) == ("dropped", False, reason)
    drop = session.drops().iloc[0]
    assert (drop["reason"], drop["place"], drop["journey"], drop["code"]) == (reason, "host:veth1", 0, "0x…00001234")


def test_a_drop_without_a_path_has_no_journey():
    session = session_of((HOST, 4, DROP, {"detail": 2}))
    assert len(session.journeys()) == 0
    assert session.drops()["journey"].tolist() == [-1]


def test_endpoints_are_independent_of_nat():
    """The packet is sent to the published port of the host, and from there to the container."""
    before, after = {"daddr": 0x01004D0A, "dport": 8080}, {}
    session = session_of(*((*hop, before) for hop in PATH[:4]), *((*hop, after) for hop in PATH[4:]))
    journey = only(session)
    assert (journey["direction"], journey["dport"], journey["complete"]) == ("c1 → c0", 8080, True)


def test_an_address_without_an_owner_is_shown_as_address():
    journey = only(session_of(*PATH, saddr=0x08080808))
    assert (journey["src"], journey["complete"]) == ("8.8.8.8", True)  # its owner is not known


def test_packets_of_equal_hops_have_one_path():
    """A bridge is between its ports in the path."""
    table = Session(bulk(500), manifest()).journeys()
    assert table["path"].nunique() == 1


def test_columns_equal_the_schema():
    table = Session(bulk(50), manifest()).journeys()
    assert [(name, str(dtype)) for name, dtype in table.dtypes.items()] == [
        (c.name, c.dtype) for c in schema.TABLES["journeys"]
    ]


def test_no_events_give_empty_tables():
    session = Session(directory.empty_columns(), manifest())
    assert session.journeys().columns.tolist() == schema.columns("journeys")
    assert (
        len(session.journeys())
        == len(session.breakdown())
        == len(session.drops())
        == len(session.throughput())
        == len(session.hops())
        == 0
    )
    assert session.duration_s == 0
    assert "0 journeys" in repr(session)


def test_transmit_points_only_give_unfinished_journeys():
    """The session has transmit points of devices only."""
    session = session_of((C1, 2, XMIT), (HOST, 3, XMIT))
    assert only(session)["outcome"] == "unfinished"
    assert isinstance(session.events, pd.DataFrame)
