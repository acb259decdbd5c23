"""Every table that cmonlab hands out: column, dtype, unit, meaning.

This is the one place that documents columns; `describe` turns it into a DataFrame.
Times are integer nanoseconds of CLOCK_MONOTONIC; sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UnknownName


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
        Unit included, for instance ``one_way_delay_ns``.
    dtype : str
        numpy or pandas dtype.
    unit : str
        ``"ns"``, ``"bytes"``, … or ``""``.
    meaning : str
        One sentence.
    """

    name: str
    dtype: str
    unit: str
    meaning: str


def _table(text: str) -> tuple[Column, ...]:
    """Read columns from lines of ``name | dtype | unit | meaning``."""
    rows = (line.split("|", 3) for line in text.strip().splitlines())
    return tuple(Column(*(cell.strip() for cell in row)) for row in rows)


TABLES: dict[str, tuple[Column, ...]] = {
    # One row a hop, in order of time.
    "events": _table("""
        ts_ns     | int64  | ns    | when the packet passed the point
        cpu       | uint16 |       | processor it passed on
        point     | category |     | name of the point
        place     | category |     | container and interface
        netns     | uint32 |       | inode number of the network namespace, 0 unknown
        ifindex   | uint32 |       | interface, unique within its namespace only, 0 unknown
        skb       | uint64 |       | address of the kernel's packet buffer
        saddr     | uint32 |       | IPv4 source as on the wire, IPv6: key of the address table
        daddr     | uint32 |       | IPv4 destination as on the wire, IPv6: key of the address table
        sport     | uint16 |       | source port, ICMP: identifier
        dport     | uint16 |       | destination port, ICMP: type * 256 + code
        proto     | uint8  |       | IP protocol number
        tcp_flags | uint8  |       | TCP flags byte, 0 for other protocols
        seq       | uint32 |       | TCP sequence number, ICMP sequence, else hash of the payload's first 8 bytes
        ident     | uint16 |       | IPv4 identification
        len_bytes | uint32 | bytes | length of the IP packet, the inner one of a tunnel
        detail    | uint16 |       | kfree_skb: drop reason; sock_recv_length: datagrams left; else GSO segments
        aux       | uint32 |       | bytes copied at delivery, low half of the code address at kfree_skb
        shape     | uint8  |       | bits: 1 IPv6, 2 inside a tunnel, 4 later fragment; above, 4-byte words of headers
    """),
    # One row a packet.
    "journeys": _table("""
        journey          | int64    |       | number of the journey, in order of its first hop
        start_ns         | int64    | ns    | time of the first hop
        one_way_delay_ns | int64    | ns    | last hop minus first hop (RFC 7679)
        src              | category |       | container that owns the source address, else the address
        dst              | category |       | container that owns the destination address, else the address
        direction        | category |       | src → dst
        proto            | category |       | tcp, udp, icmp, icmpv6 or the protocol number
        sport            | uint16   |       | source port, ICMP: identifier
        dport            | uint16   |       | destination port, ICMP: type * 256 + code
        seq              | uint32   |       | see events
        tcp_flags        | uint8    |       | see events
        len_bytes        | uint32   | bytes | length of the IP packet
        payload_bytes    | uint32   | bytes | bytes behind the transport header
        gso_segs         | uint16   |       | segments in one buffer
        hops             | uint16   |       | points passed
        path             | category |       | interfaces passed, in order
        outcome          | category |       | delivered, arrived, dropped or unfinished
        complete         | bool     |       | seen from its source's device to its destination
        drop_reason      | category |       | the kernel's reason, empty unless dropped
    """),
    # One row a hop of a journey.
    "hops": _table("""
        journey    | int64    |    | number of the journey
        ts_ns      | int64    | ns | when
        offset_ns  | int64    | ns | since the journey's first hop
        hop        | category |    | interface and point
        segment    | category |    | the segment that ends here, empty at the first hop
        segment_ns | int64    | ns | duration of that segment, 0 at the first hop
    """),
    # One row a segment and direction, in order of the path.
    "breakdown": _table("""
        direction | category |    | src → dst
        segment   | category |    | from hop to hop
        n         | int64    |    | complete journeys that passed it
        p50_ns    | float64  | ns | median
        p90_ns    | float64  | ns | 90th percentile
        p99_ns    | float64  | ns | 99th percentile
        p999_ns   | float64  | ns | 99.9th percentile
        mean_ns   | float64  | ns | mean
        share     | float64  |    | of the sum of the direction's one-way delays
    """),
    "throughput": _table("""
        time_s         | float64  | s   | start of the window, since the first event
        direction      | category |     | src → dst
        packets        | int64    |     | packets that reached their destination
        throughput_bps | float64  | bit/s | IP bytes that reached it
        goodput_bps    | float64  | bit/s | payload bytes that reached it, retransmissions included
    """),
    "drops": _table("""
        ts_ns       | int64    | ns    | when
        place       | category |       | interface the packet was last seen on
        reason      | category |       | the kernel's drop reason
        code        | category |       | kernel function that dropped it, else its address
        direction   | category |       | src → dst
        proto       | category |       | protocol
        sport       | uint16   |       | source port
        dport       | uint16   |       | destination port
        len_bytes   | uint32   | bytes | length of the IP packet
        journey     | int64    |       | number of the journey, -1 when the packet belongs to none
    """),
    # One row a point: seen = unmatched + sampled_out + recorded + lost, exactly.
    "ledger": _table("""
        point       | object |  | name of the point
        seen        | int64  |  | packets that passed it
        unmatched   | int64  |  | of these, what the rule did not match
        sampled_out | int64  |  | matched, left out by sampling
        recorded    | int64  |  | events
        lost        | int64  |  | lost events: the monitor's own, never packet loss
    """),
    # One row an interval in which tracepoints stayed silent on a CPU, so that packets passed unseen.
    "blind": _table("""
        cpu      | int64 |    | processor
        start_ns | int64 | ns | when the task came that is kept from view
        end_ns   | int64 | ns | when it was gone
    """),
    # One row an interface of a namespace, as it was while the recording ran.
    "links": _table("""
        netns     | int64  |  | inode number of the namespace
        namespace | object |  | container's name, or host
        ifindex   | int64  |  | number within the namespace
        name      | object |  | interface's name
        kind      | object |  | veth, bridge, vxlan, …, empty for a physical one
        master    | int64  |  | ifindex of the bridge it is a port of, 0 none
        peer      | int64  |  | ifindex of a veth's other end, 0 none
        mtu       | int64  | bytes | largest packet
        mac       | object |  | link address
        addresses | object |  | list of IP addresses
    """),
}


def columns(table: str) -> list[str]:
    """Return a table's column names in order.

    Raises
    ------
    UnknownName
        There is no such table.
    """
    if table not in TABLES:
        raise UnknownName("table", table, TABLES)
    return [column.name for column in TABLES[table]]


def describe(table: str):
    """Return a DataFrame that documents a table: column, dtype, unit, meaning."""
    import pandas as pd

    columns(table)
    return pd.DataFrame([vars(column) for column in TABLES[table]]).rename(columns={"name": "column"})
