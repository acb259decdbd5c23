"""Tables of one-way delays: how long, how steady, when, and what made the slow ones slow."""

from .column import Column, read

_DIRECTION = read("direction | category | | src → dst")
_VARIATION = read("""
    measure     | category |    | IPDV: one-way delay less that of the packet sent before; PDV: less the least one
    n           | int64    |    | IPDV: pairs of packets; PDV: packets
    min_ns      | float64  | ns | least; of PDV 0
    mean_ns     | float64  | ns | mean; of IPDV about 0
    std_ns      | float64  | ns | standard deviation, NaN for one
    mean_abs_ns | float64  | ns | mean of what it is without its sign
    p1_ns       | float64  | ns | 1st percentile
    p50_ns      | float64  | ns | median
    p90_ns      | float64  | ns | 90th percentile
    p99_ns      | float64  | ns | 99th percentile
    p999_ns     | float64  | ns | 99.9th percentile
    max_ns      | float64  | ns | greatest
""")

TABLES: dict[str, tuple[Column, ...]] = {
    # One row a direction, of complete journeys (RFC 7679). Intervals are those of the breakdown.
    "one_way_delay": _DIRECTION
    + read("""
        n              | int64   |    | complete journeys
        min_ns         | float64 | ns | least
        mean_ns        | float64 | ns | mean
        std_ns         | float64 | ns | standard deviation, NaN for one
        p50_ns         | float64 | ns | median
        p90_ns         | float64 | ns | 90th percentile
        p99_ns         | float64 | ns | 99th percentile
        p999_ns        | float64 | ns | 99.9th percentile
        max_ns         | float64 | ns | greatest
        p50_low_ns     | float64 | ns | 95% interval of the median of all packets, those sampled out among them
        p50_high_ns    | float64 | ns | its upper end
        p99_low_ns     | float64 | ns | 95% interval of the 99th percentile
        p99_high_ns    | float64 | ns | its upper end
        clock_error_ns | int64   | ns | by how much clocks of source and destination may differ, 0: it is one clock
    """),
    # One row a direction and measure (RFC 3393, RFC 5481). Signed: a negative IPDV is a packet that came sooner.
    "delay_variation": _DIRECTION + _VARIATION,
    # One row a flow and measure.
    "delay_variation_by_flow": _DIRECTION
    + read("""
        proto | category | | tcp, udp, icmp, icmpv6 or the protocol number
        sport | uint16   | | source port, ICMP: identifier
        dport | uint16   | | destination port, ICMP: type * 256 + code
    """)
    + _VARIATION,
    # One row a window and direction, those without packets among them.
    "timeline": read("""
        start_ns             | int64    | ns    | begin of the window
        end_ns               | int64    | ns    | its end
        time_s               | float64  | s     | its begin since that of the first window
        rule                 | category |       | the aggregate rule that counted, empty where events were captured
    """)
    + _DIRECTION
    + read("""
        packets              | int64    |       | that reached their destination
        throughput_bps       | float64  | bit/s | IP bytes of these
        one_way_delay_p50_ns | float64  | ns    | median of the complete journeys that ended in it, NaN without any
        one_way_delay_p99_ns | float64  | ns    | 99th percentile
        dropped              | int64    |       | by the network
        retransmissions      | int64    |       | segments that TCP sent once more
        lost_events          | float64  |       | the monitor's own: 0 where none was lost, else NaN: when is not known
        trace_gap_ns             | int64    | ns    | for how long tracepoints stayed silent, summed over CPUs
    """),
    # One row a journey, the slowest first.
    "slowest": read("""
        rank             | int64    |    | 1 is the slowest
        journey          | int64    |    | number of the journey
    """)
    + _DIRECTION
    + read("""
        start_ns         | int64    | ns | time of the first hop
        one_way_delay_ns | int64    | ns | last hop minus first hop
        segment          | category |    | the one that made it slow: it exceeds its median by most
        kind             | category |    | what its time is: processing, queueing, softirq or scheduling
        segment_ns       | int64    | ns | what it took
        typical_ns       | float64  | ns | its median in the direction; where a journey does not pass it, it took 0
        excess_ns        | float64  | ns | segment_ns less typical_ns
    """),
    # One row a segment and direction, those first that explain most; the last one of a direction is the residual.
    # In each direction typical_ns adds up to the median, tail_ns to the quantile, difference_ns to what is between.
    "where_is_the_tail": _DIRECTION
    + read("""
        segment       | category |    | from hop to hop, or residual: what segments leave unexplained
        kind          | category |    | what its time is: processing, queueing, softirq or scheduling; empty: residual
        n             | int64    |    | complete journeys of the direction
        n_tail        | int64    |    | of these, those around the quantile that tail_ns is the mean of
        quantile      | float64  |    | of the one-way delay that is explained
        typical_ns    | float64  | ns | mean over the journeys around the median, 0 for those that do not pass it
        tail_ns       | float64  | ns | mean over the journeys around the quantile
        difference_ns | float64  | ns | tail_ns less typical_ns: its part of quantile less median
        low_ns        | float64  | ns | 95% bootstrap interval of difference_ns, NaN below five journeys beyond it
        high_ns       | float64  | ns | its upper end
        share         | float64  |    | difference_ns of the direction's sum
    """),
}
