"""Tables that are calculated from recorded events."""

from .column import Column, read

# Columns after the median, for tables of times. The 95% interval of a quantile is that of an order statistic
# (`analysis.stats.quantile_ranks`): its width is 0 if no packet was sampled out; it reaches to 0 or infinity if the
# sample is too small, and is NaN if the packets were sampled at different rates.
QUANTILES = read("""
    p90_ns      | float64  | ns | 90th percentile
    p99_ns      | float64  | ns | 99th percentile
    p999_ns     | float64  | ns | 99.9th percentile
    mean_ns     | float64  | ns | mean
    share       | float64  |    | share of the sum of all one-way delays of the direction
    p50_low_ns  | float64  | ns | lower end of the median's 95% interval, sampled-out packets included
    p50_high_ns | float64  | ns | upper end of that interval
    p99_low_ns  | float64  | ns | lower end of the 95% interval of the 99th percentile
    p99_high_ns | float64  | ns | upper end of that interval
""")

ROWS: dict[str, str] = {
    "events": "One row per event (a packet at a point), in order of time.",
    "journeys": "One row per packet.",
    "hops": "One row per hop of a journey, and one per start of the softirq that received its packet.",
    "breakdown": "One row per direction and segment, in order of the path.",
    "breakdown_by_kind": "One row per direction and kind of segment; says why packets waited.",
    "throughput": "One row per window and direction.",
    "drops": "One row per dropped packet.",
    "retransmissions": "One row per segment that TCP sent again.",
    "rtt": "One row per segment that a TCP connection received: its estimate of the round trip time then.",
    "loss": "One row per direction; packets = delivered + arrived + merged + split + dropped + unfinished, exactly.",
}

TABLES: dict[str, tuple[Column, ...]] = {
    "events": read("""
        ts_ns     | int64  | ns    | time at which the packet passed the point
        cpu       | uint16 |       | CPU on which it passed
        point     | category |     | name of the point
        place     | category |     | container and interface
        netns     | uint32 |       | inode number of the network namespace, 0: unknown
        ifindex   | uint32 |       | interface index, unique within the namespace only, 0: unknown
        skb       | uint32 |       | address of the kernel's packet buffer / 64, or of the socket if there is no buffer
        saddr     | uint32 |       | IPv4 source address in network byte order; IPv6: key of the address table
        daddr     | uint32 |       | IPv4 destination address in network byte order; IPv6: key of the address table
        sport     | uint16 |       | source port; ICMP: identifier
        dport     | uint16 |       | destination port; ICMP: type * 256 + code
        proto     | uint8  |       | IP protocol number
        tcp_flags | uint8  |       | TCP flags, 0 for other protocols
        seq       | uint32 |       | sequence number of TCP or ICMP, else hash of the payload's first 8 bytes
        ident     | uint16 |       | IPv4 identification
        len_bytes | uint32 | bytes | length of the IP packet; in a tunnel, of the inner packet
        detail    | uint16 |       | kfree_skb: drop reason; sock_recv_length: remaining datagrams; else GSO segments
        aux       | uint32 |       | bytes copied, read or to be sent; for other points see struct hop in bpf/records.h
        shape     | uint8  |       | bits 0-2: IPv6, in a tunnel, later fragment; bits 3-7: length of headers in 4 bytes
        epoch     | uint16 |       | number of the rule set that was active
        rules     | uint16 |       | bits of the rules that recorded it, see the table rules
    """),
    "journeys": read("""
        journey          | int64    |       | number of the journey, in order of its first hop
        start_ns         | int64    | ns    | time of the first hop
        one_way_delay_ns | int64    | ns    | time from first to last hop (RFC 7679), from the send call if it was seen
        src              | category |       | container that owns the source address, else the address
        dst              | category |       | container that owns the destination address, else the address
        direction        | category |       | src → dst
        proto            | category |       | tcp, udp, icmp, icmpv6 or the protocol number
        sport            | uint16   |       | source port; ICMP: identifier
        dport            | uint16   |       | destination port; ICMP: type * 256 + code
        seq              | uint32   |       | as in the table events
        tcp_flags        | uint8    |       | as in the table events
        len_bytes        | uint32   | bytes | length of the IP packet
        payload_bytes    | uint32   | bytes | bytes after the transport header
        gso_segs         | uint16   |       | number of segments in the buffer
        hops             | uint16   |       | number of points passed
        path             | category |       | interfaces passed, in order
        outcome          | category |       | delivered, arrived, merged, split, dropped or unfinished
        complete         | bool     |       | seen from the source's device to the destination, as one packet
        drop_reason      | category |       | drop reason of the kernel, empty if the packet was not dropped
        repeats          | int64    |       | journey that first carried this TCP segment's first byte, -1: none
        parent           | int64    |       | journey that it was split from (GSO) or merged into (GRO), -1: none
        rules            | uint16   |       | bits of the rules that recorded it, see the table rules
        epoch            | uint16   |       | number of the rule set that was active at the first hop
    """),
    "hops": read("""
        journey    | int64    |    | number of the journey
        ts_ns      | int64    | ns | time of the hop
        offset_ns  | int64    | ns | time since the journey's first hop
        hop        | category |    | interface and point
        segment    | category |    | segment that ends at this hop, empty at the first hop
        kind       | category |    | kind of that segment: processing, queueing, softirq or scheduling
        segment_ns | int64    | ns | duration of that segment, 0 at the first hop
    """),
    "breakdown": read("""
        direction   | category |    | src → dst
        segment     | category |    | from hop to hop
        kind        | category |    | processing, queueing, softirq or scheduling
        n           | int64    |    | complete journeys that passed the segment
        p50_ns      | float64  | ns | median duration
    """)
    + QUANTILES,
    "breakdown_by_kind": read("""
        direction   | category |    | src → dst
        kind        | category |    | processing, queueing, softirq (waiting for it to start) or scheduling
        n           | int64    |    | complete journeys with a segment of this kind
        p50_ns      | float64  | ns | median of a journey's total time in segments of this kind
    """)
    + QUANTILES,
    "throughput": read("""
        time_s         | float64  | s   | start of the window, since the first event
        direction      | category |     | src → dst
        packets        | int64    |     | packets that reached their destination
        throughput_bps | float64  | bit/s | IP bytes that reached the destination
        goodput_bps    | float64  | bit/s | payload bytes that reached the destination, retransmissions included
    """),
    "drops": read("""
        ts_ns       | int64    | ns    | time of the drop
        place       | category |       | interface on which the packet was last seen
        reason      | category |       | drop reason of the kernel
        code        | category |       | kernel function that dropped the packet, else its address
        direction   | category |       | src → dst
        proto       | category |       | protocol
        sport       | uint16   |       | source port
        dport       | uint16   |       | destination port
        len_bytes   | uint32   | bytes | length of the IP packet
        journey     | int64    |       | number of the packet's journey, -1: none
    """),
    "retransmissions": read("""
        ts_ns            | int64    | ns    | time of the retransmission
        direction        | category |       | src → dst
        sport            | uint16   |       | source port
        dport            | uint16   |       | destination port
        seq              | uint32   |       | sequence number of the first byte
        payload_bytes    | uint32   | bytes | payload of the retransmission
        journey          | int64    |       | journey of the retransmission, -1: not seen
        original         | int64    |       | journey that first carried the first byte, -1: not seen
        delay_ns         | int64    | ns    | time since the original was sent, -1: the original was not seen
        original_outcome | category |       | outcome of the original as in journeys, empty if it was not seen
        spurious         | bool     |       | whether the original had reached its destination
        place            | category |       | interface on which the original was last seen
        drop_reason      | category |       | why the original was dropped, empty if it was not
    """),
    "rtt": read("""
        ts_ns     | int64    | ns | time of the measurement
        direction | category |    | src → dst; src is the side that measures
        sport     | uint16   |    | source port
        dport     | uint16   |    | destination port
        srtt_ns   | int64    | ns | smoothed round trip time (RFC 6298), with a resolution of 1 µs
    """),
    "loss": read("""
        direction       | category |  | src → dst
        packets         | int64    |  | journeys that began at their source, and packets dropped there before a device
        delivered       | int64    |  | read by the application
        arrived         | int64    |  | reached the destination; no read was seen
        merged          | int64    |  | continued in another packet (GRO); neither read nor lost
        split           | int64    |  | continued in several packets (GSO), each with its own journey
        dropped         | int64    |  | dropped by the network, with a reason
        unfinished      | int64    |  | ended on the path: the recording ended, or later events were not seen
        loss            | float64  |  | dropped / (packets - merged - split)
        retransmissions | int64    |  | segments that TCP sent again
        places          | object   |  | where packets were dropped, why and how often; then where others ended
    """),
}
