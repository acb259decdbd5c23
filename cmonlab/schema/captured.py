"""Tables that follow from recorded events."""

from .column import Column, read

# Of times, beside their median. The interval of a quantile is that of an order statistic
# (`analysis.stats.quantile_ranks`): as wide as nothing where no packet was sampled out, from 0 or to
# infinity where the sample is too small, NaN where it is not one share of the packets.
QUANTILES = read("""
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
    "events": read("""
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
    "journeys": read("""
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
    "hops": read("""
        journey    | int64    |    | number of the journey
        ts_ns      | int64    | ns | when
        offset_ns  | int64    | ns | since the journey's first hop
        hop        | category |    | interface and point
        segment    | category |    | the segment that ends here, empty at the first hop
        kind       | category |    | what that segment's time is: processing, queueing, softirq or scheduling
        segment_ns | int64    | ns | duration of that segment, 0 at the first hop
    """),
    # One row a segment and direction, in order of the path.
    "breakdown": read("""
        direction   | category |    | src → dst
        segment     | category |    | from hop to hop
        kind        | category |    | what its time is: processing, queueing, softirq or scheduling
        n           | int64    |    | complete journeys that passed it
        p50_ns      | float64  | ns | median
    """)
    + QUANTILES,
    # One row a kind of segment and direction: the breakdown that says why.
    "breakdown_by_kind": read("""
        direction   | category |    | src → dst
        kind        | category |    | processing, queueing, softirq (waiting for it to begin) or scheduling
        n           | int64    |    | complete journeys with a segment of that kind
        p50_ns      | float64  | ns | median of what a journey's segments of that kind take together
    """)
    + QUANTILES,
    "throughput": read("""
        time_s         | float64  | s   | start of the window, since the first event
        direction      | category |     | src → dst
        packets        | int64    |     | packets that reached their destination
        throughput_bps | float64  | bit/s | IP bytes that reached it
        goodput_bps    | float64  | bit/s | payload bytes that reached it, retransmissions included
    """),
    "drops": read("""
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
    "retransmissions": read("""
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
    "rtt": read("""
        ts_ns     | int64    | ns | when
        direction | category |    | src → dst, src the side that measures
        sport     | uint16   |    | source port
        dport     | uint16   |    | destination port
        srtt_ns   | int64    | ns | smoothed round trip time (RFC 6298), of 1 µs resolution
    """),
    # One row a direction: packets = delivered + arrived + merged + split + dropped + unfinished, exactly.
    "loss": read("""
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
}
