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


# Of times, beside their median. The interval of a quantile is that of an order statistic
# (`analysis.stats.quantile_ranks`): as wide as nothing where no packet was sampled out, from 0 or to
# infinity where the sample is too small, NaN where it is not one share of the packets.
_QUANTILES = _table("""
    p90_ns      | float64  | ns | 90th percentile
    p99_ns      | float64  | ns | 99th percentile
    p999_ns     | float64  | ns | 99.9th percentile
    mean_ns     | float64  | ns | mean
    share       | float64  |    | of the sum of the direction's one-way delays
    p50_low_ns  | float64  | ns | 95% interval of the median of all packets, those sampled out among them
    p50_high_ns | float64  | ns | its upper end
    p99_low_ns  | float64  | ns | 95% interval of the 99th percentile
    p99_high_ns | float64  | ns | its upper end
""")


TABLES: dict[str, tuple[Column, ...]] = {
    # One row a hop, in order of time.
    "events": _table("""
        ts_ns     | int64  | ns    | when the packet passed the point
        cpu       | uint16 |       | processor it passed on
        point     | category |     | name of the point
        place     | category |     | container and interface
        netns     | uint32 |       | inode number of the network namespace, 0 unknown
        ifindex   | uint32 |       | interface, unique within its namespace only, 0 unknown
        skb       | uint32 |       | address / 64 of the kernel's packet buffer, of the socket where there is none
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
        aux       | uint32 |       | bytes copied, read or to be sent; at other points see struct hop in bpf/records.h
        shape     | uint8  |       | bits: 1 IPv6, 2 inside a tunnel, 4 later fragment; above, 4-byte words of headers
        epoch     | uint16 |       | rule set that was active
        rules     | uint16 |       | bits of the rules that took it, see the table rules
    """),
    # One row a packet.
    "journeys": _table("""
        journey          | int64    |       | number of the journey, in order of its first hop
        start_ns         | int64    | ns    | time of the first hop
        one_way_delay_ns | int64    | ns    | last hop minus first hop (RFC 7679), the send where known
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
        outcome          | category |       | delivered, arrived, merged, split, dropped or unfinished
        complete         | bool     |       | seen from its source's device to its destination, as one packet
        drop_reason      | category |       | the kernel's reason, empty unless dropped
        repeats          | int64    |       | journey that first carried this TCP segment's first byte, -1 none
        parent           | int64    |       | journey it was cut from (GSO) or merged into (GRO), -1 none
        rules            | uint16   |       | bits of the rules that took it, see the table rules
        epoch            | uint16   |       | rule set that was active at its first hop
    """),
    # One row a hop of a journey, and one where the softirq began that received it.
    "hops": _table("""
        journey    | int64    |    | number of the journey
        ts_ns      | int64    | ns | when
        offset_ns  | int64    | ns | since the journey's first hop
        hop        | category |    | interface and point
        segment    | category |    | the segment that ends here, empty at the first hop
        kind       | category |    | what that segment's time is: processing, queueing, softirq or scheduling
        segment_ns | int64    | ns | duration of that segment, 0 at the first hop
    """),
    # One row a segment and direction, in order of the path.
    "breakdown": _table("""
        direction   | category |    | src → dst
        segment     | category |    | from hop to hop
        kind        | category |    | what its time is: processing, queueing, softirq or scheduling
        n           | int64    |    | complete journeys that passed it
        p50_ns      | float64  | ns | median
    """)
    + _QUANTILES,
    # One row a kind of segment and direction: the breakdown that says why.
    "breakdown_by_kind": _table("""
        direction   | category |    | src → dst
        kind        | category |    | processing, queueing, softirq (waiting for it to begin) or scheduling
        n           | int64    |    | complete journeys with a segment of that kind
        p50_ns      | float64  | ns | median of what a journey's segments of that kind take together
    """)
    + _QUANTILES,
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
    # One row a segment that TCP sent once more.
    "retransmissions": _table("""
        ts_ns            | int64    | ns    | when it was sent again
        direction        | category |       | src → dst
        sport            | uint16   |       | source port
        dport            | uint16   |       | destination port
        seq              | uint32   |       | sequence number of its first byte
        payload_bytes    | uint32   | bytes | sent again
        journey          | int64    |       | journey of the repetition, -1 where it was not seen
        original         | int64    |       | journey that first carried its first byte, -1 where it was not seen
        delay_ns         | int64    | ns    | since the original was sent, -1 where that was not seen
        original_outcome | category |       | of the original, see journeys; empty where it was not seen
        spurious         | bool     |       | the original had reached its destination
        place            | category |       | interface on which the original was seen last
        drop_reason      | category |       | why it was dropped, empty where it was not
    """),
    # One row a segment that a connection received: what TCP makes of its round trips.
    "rtt": _table("""
        ts_ns     | int64    | ns | when
        direction | category |    | src → dst, src the side that measures
        sport     | uint16   |    | source port
        dport     | uint16   |    | destination port
        srtt_ns   | int64    | ns | smoothed round trip time (RFC 6298), of 1 µs resolution
    """),
    # One row a direction: packets = delivered + arrived + merged + split + dropped + unfinished, exactly.
    "loss": _table("""
        direction       | category |  | src → dst
        packets         | int64    |  | journeys that began at their source, and what it dropped before a device took it
        delivered       | int64    |  | read by the application
        arrived         | int64    |  | reached the destination, the read was not seen
        merged          | int64    |  | went on in another packet (GRO), neither read nor lost
        split           | int64    |  | went on in several packets (GSO), each a journey of its own
        dropped         | int64    |  | by the network, with a reason
        unfinished      | int64    |  | end on the way: the recording ended, or what came then was not seen
        loss            | float64  |  | dropped / (packets - merged - split)
        retransmissions | int64    |  | segments that TCP sent once more
        places          | object   |  | where packets were dropped, why and how often; then where others end
    """),
    # One row a rule.
    "rules": _table("""
        slot        | int64   |  | its bit in the column rules of events and journeys
        name        | object  |  | the rule's name
        mode        | object  |  | capture, aggregate or count
        expression  | object  |  | pcap expression; empty: all IP packets
        containers  | object  |  | how containers were selected, empty: the whole host
        sample      | float64 |  | share of the packets; where a budget varied it, the greatest
        sample_min  | float64 |  | the smallest, else the same
        max_overhead | object |  | its budget, empty: none
        first_epoch | int64   |  | rule set with which it came
        last_epoch  | int64   |  | last rule set that it belonged to
    """),
    # One row a change that a rule's budget made; the first one is how the rule began.
    "budget": _table("""
        rule          | object  |    | the rule's name
        epoch         | int64   |    | rule set that was active then
        start_ns      | int64   | ns | before the change,
        end_ns        | int64   | ns | and after it; packets on their way then may be taken at a part of their points
        mode_before   | object  |    | capture, aggregate or count
        sample_before | float64 |    | share of the packets
        mode          | object  |    | from then on; the same where it is only told whether the budget can be kept
        sample        | float64 |    | from then on
        why           | object  |    | what was measured, and what the budget is
    """),
    # Aggregates. One row a window and direction; windows without packets have none.
    "pairs": _table("""
        start_ns             | int64    | ns    | begin of the window
        end_ns               | int64    | ns    | its end
        rule                 | category |       | name of the aggregate rule
        direction            | category |       | src → dst
        src                  | category |       | container that owns the source address, else the address
        dst                  | category |       | container that owns the destination address, else the address
        packets_sent         | int64    |       | at the first transmit point of the source's namespace
        packets_arrived      | int64    |       | where they were first received in the destination's namespace
        bytes                | int64    | bytes | IP bytes that arrived; sent ones where the destination is not in sight
        throughput_bps       | float64  | bit/s | of these bytes
        dropped              | int64    |       | by the network, anywhere; by the source's own filters, too
        lost                 | float64  |       | sent and missing for good, NaN where an end is not in sight
        lost_total           | float64  |       | the same since the first window
        retransmissions      | int64    |       | segments that TCP sent once more
        one_way_delay_p50_ns | float64  | ns    | median, first hop to the destination's device; off by less than 1/64
        one_way_delay_p99_ns | float64  | ns    | 99th percentile of that
        srtt_p50_ns          | float64  | ns    | median of TCP's smoothed round trip times, off by less than 1/64
    """),
    # One row a segment and direction, over all or a window.
    "segments": _table("""
        start_ns  | int64    | ns | begin of the window
        end_ns    | int64    | ns | its end
        rule      | category |    | name of the aggregate rule
        direction | category |    | src → dst
        segment   | category |    | from point to hop: the place of the first is not known
        kind      | category |    | what its time is: processing, queueing or scheduling
        n         | int64    |    | packets that passed it
        p50_ns    | float64  | ns | median; quantiles are off by less than 1/64
        p90_ns    | float64  | ns | 90th percentile
        p99_ns    | float64  | ns | 99th percentile
        p999_ns   | float64  | ns | 99.9th percentile
        mean_ns   | float64  | ns | mean, exact
    """),
    # One row a window, direction, place and reason.
    "drop_counts": _table("""
        start_ns  | int64    | ns    | begin of the window
        end_ns    | int64    | ns    | its end
        rule      | category |       | name of the aggregate rule
        direction | category |       | src → dst
        place     | category |       | interface, or namespace where there was none
        reason    | category |       | the kernel's drop reason
        packets   | int64    |       | dropped
        bytes     | int64    | bytes | of their IP packets
    """),
    # One row a point: seen is the sum of the rest, exactly.
    "ledger": _table("""
        point       | object |  | name of the point
        seen        | int64  |  | packets that passed it
        unmatched   | int64  |  | of these, what no rule matched
        sampled_out | int64  |  | matched, left out by sampling or beyond the rate limit
        counted     | int64  |  | by rules that only count
        aggregated  | int64  |  | by rules that aggregate
        overflowed  | int64  |  | left out of an aggregate for want of room
        recorded    | int64  |  | events
        lost        | int64  |  | lost events: the monitor's own, never packet loss
    """),
    # One row an interval in which tracepoints stayed silent on a CPU, so that packets passed unseen.
    "blind": _table("""
        cpu      | int64 |    | processor
        start_ns | int64 | ns | when the task came that is kept from view
        end_ns   | int64 | ns | when it was gone
    """),
    # One row an observer and metric. Differences and ratios are taken within a round; intervals are 95% bootstrap
    # intervals of their medians, NaN below five rounds.
    "overhead": _table("""
        observer   | object  |  | who looked on
        metric     | object  |  | throughput, p50, p99, p99.9 (the workload's own), CPU or observer CPU
        unit       | object  |  | of the values: per second, ns, ns of a processor per piece of work, or processors
        untraced   | float64 |  | median of the rounds without an observer
        observed   | float64 |  | median of the rounds with it
        difference | float64 |  | median of observed less untraced
        low        | float64 |  | lower end of the difference's interval
        high       | float64 |  | upper end of the difference's interval
        ratio      | float64 |  | median of observed / untraced, NaN for observer CPU
        ratio_low  | float64 |  | lower end of the ratio's interval
        ratio_high | float64 |  | upper end of the ratio's interval
        rounds     | int64   |  | rounds that were measured
    """),
    # One row an interface of a namespace, as it was while the recording ran; another when it was renamed or lost an
    # address, in order of time.
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
        from_ns   | int64  | ns | when it became so, 0 before the recording
        to_ns     | int64  | ns | when it was so no more, 0 still so
    """),
    # One row a check of `cmonlab calibrate`.
    "checks": _table("""
        group     | object  |    | what is checked: delay, loss, counts, throughput, rtt, sampling or overload
        name      | object  |    | the situation and the quantity
        truth     | float64 |    | what is known of it, in the unit of the row
        measured  | float64 |    | what cmonlab reported
        error     | float64 |    | measured less truth
        unit      | object  |    | of truth, measured, error and tolerance; empty for a share
        tolerance | float64 |    | the greatest error that passes, 0: exact
        pass      | bool    |    | whether the error is within the tolerance
        note      | object  |    | how the truth is known
        blind_ns  | int64   | ns | for how long tracepoints stayed silent in the recording
        attempts  | int64   |    | how often it was made; again only where tracepoints were silent
    """),
}

# One row a window and flow.
TABLES["flows"] = (
    *TABLES["pairs"][:6],
    *_table("""
        proto | category | | tcp, udp, icmp, icmpv6 or the protocol number
        sport | uint16   | | source port, 0 where the rule aggregates by pair
        dport | uint16   | | destination port, 0 where the rule aggregates by pair
    """),
    *TABLES["pairs"][6:],
)


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
