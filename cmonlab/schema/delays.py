"""Tables of one-way delays: their distribution, variation and course, and the causes of long ones."""

from .column import Column, read

_DIRECTION = read("direction | category | | src → dst")
_VARIATION = read("""
    measure     | category |    | IPDV: delay minus that of the packet sent before; PDV: delay minus the minimum
    n           | int64    |    | IPDV: pairs of packets; PDV: packets
    min_ns      | float64  | ns | minimum; 0 for PDV
    mean_ns     | float64  | ns | mean; about 0 for IPDV
    std_ns      | float64  | ns | standard deviation, NaN for a single value
    mean_abs_ns | float64  | ns | mean of the absolute values
    p1_ns       | float64  | ns | 1st percentile
    p50_ns      | float64  | ns | median
    p90_ns      | float64  | ns | 90th percentile
    p99_ns      | float64  | ns | 99th percentile
    p999_ns     | float64  | ns | 99.9th percentile
    max_ns      | float64  | ns | maximum
""")

ROWS: dict[str, str] = {
    "one_way_delay": "One row per direction, over complete journeys (RFC 7679); intervals as in the table breakdown.",
    "delay_variation": "One row per direction and measure (RFC 3393, RFC 5481); a negative IPDV means that the packet "
    "took less time than the one before.",
    "delay_variation_by_flow": "One row per flow and measure.",
    "timeline": "One row per window and direction, windows without packets included.",
    "slowest": "One row per journey, the slowest first.",
    "where_is_the_tail": "One row per direction and segment, the largest difference first; a direction's last row is "
    "the residual. Per direction, typical_ns adds up to the median, tail_ns to the quantile, difference_ns to their "
    "difference.",
}

TABLES: dict[str, tuple[Column, ...]] = {
    "one_way_delay": _DIRECTION
    + read("""
        n              | int64   |    | complete journeys
        min_ns         | float64 | ns | minimum
        mean_ns        | float64 | ns | mean
        std_ns         | float64 | ns | standard deviation, NaN for a single journey
        p50_ns         | float64 | ns | median
        p90_ns         | float64 | ns | 90th percentile
        p99_ns         | float64 | ns | 99th percentile
        p999_ns        | float64 | ns | 99.9th percentile
        max_ns         | float64 | ns | maximum
        p50_low_ns     | float64 | ns | lower end of the median's 95% interval, sampled-out packets included
        p50_high_ns    | float64 | ns | upper end of that interval
        p99_low_ns     | float64 | ns | lower end of the 95% interval of the 99th percentile
        p99_high_ns    | float64 | ns | upper end of that interval
        clock_error_ns | int64   | ns | largest difference of the clocks of source and destination, 0: the same clock
    """),
    "delay_variation": _DIRECTION + _VARIATION,
    "delay_variation_by_flow": _DIRECTION
    + read("""
        proto | category | | tcp, udp, icmp, icmpv6 or the protocol number
        sport | uint16   | | source port; ICMP: identifier
        dport | uint16   | | destination port; ICMP: type * 256 + code
    """)
    + _VARIATION,
    "timeline": read("""
        start_ns             | int64    | ns    | start of the window
        end_ns               | int64    | ns    | end of the window
        time_s               | float64  | s     | start of the window, since the start of the first window
        rule                 | category |       | name of the aggregate rule, empty if events were recorded
    """)
    + _DIRECTION
    + read("""
        packets              | int64    |       | packets that reached their destination
        throughput_bps       | float64  | bit/s | IP bytes of these packets
        one_way_delay_p50_ns | float64  | ns    | median of the complete journeys that ended in the window, NaN: none
        one_way_delay_p99_ns | float64  | ns    | 99th percentile
        dropped              | int64    |       | packets dropped by the network
        retransmissions      | int64    |       | segments that TCP sent again
        lost_events          | float64  |       | 0 if the tracer lost no events, else NaN: their time is not known
        trace_gap_ns         | int64    | ns    | total time of trace gaps, summed over CPUs
    """),
    "slowest": read("""
        rank             | int64    |    | 1 is the slowest
        journey          | int64    |    | number of the journey
    """)
    + _DIRECTION
    + read("""
        start_ns         | int64    | ns | time of the first hop
        one_way_delay_ns | int64    | ns | time from first to last hop
        segment          | category |    | segment that exceeded its median by most
        kind             | category |    | kind of that segment: processing, queueing, softirq or scheduling
        segment_ns       | int64    | ns | duration of that segment
        typical_ns       | float64  | ns | median duration in the direction, 0 for journeys that do not pass it
        excess_ns        | float64  | ns | segment_ns - typical_ns
    """),
    "where_is_the_tail": _DIRECTION
    + read("""
        segment       | category |    | from hop to hop, or residual: the part that no segment explains
        kind          | category |    | processing, queueing, softirq or scheduling, empty for the residual
        n             | int64    |    | complete journeys of the direction
        n_tail        | int64    |    | of these, journeys around the quantile, of which tail_ns is the mean
        quantile      | float64  |    | quantile of the one-way delay that is explained
        typical_ns    | float64  | ns | mean over the journeys around the median, 0 for those that do not pass it
        tail_ns       | float64  | ns | mean over the journeys around the quantile
        difference_ns | float64  | ns | tail_ns - typical_ns: the segment's part of quantile - median
        low_ns        | float64  | ns | lower end of its 95% bootstrap interval, NaN below five journeys beyond
        high_ns       | float64  | ns | upper end of that interval
        share         | float64  |    | difference_ns / its sum over the direction
    """),
}
