"""Tables of aggregate rules; `pairs` and `flows` can also be calculated from events."""

from .column import Column, read

ROWS: dict[str, str] = {
    "pairs": "One row per window and direction with packets. From events: one row per direction, with the recording as "
    "the window, dropped packets as lost ones, and no name of a rule.",
    "flows": "One row per window and flow with packets.",
    "segments": "One row per direction and segment, over all windows or for each one.",
    "drop_counts": "One row per window, direction, place and reason.",
}

TABLES: dict[str, tuple[Column, ...]] = {
    "pairs": read("""
        start_ns             | int64    | ns    | start of the window
        end_ns               | int64    | ns    | end of the window
        rule                 | category |       | name of the aggregate rule
        direction            | category |       | src → dst
        src                  | category |       | container that owns the source address, else the address
        dst                  | category |       | container that owns the destination address, else the address
        packets_sent         | int64    |       | packets at the first transmit point of the source's namespace
        packets_arrived      | int64    |       | packets at the first receive point of the destination's namespace
        bytes                | int64    | bytes | IP bytes arrived; bytes sent if the destination is not on this host
        throughput_bps       | float64  | bit/s | throughput of these bytes
        dropped              | int64    |       | packets dropped anywhere in the network, by the source's filters too
        lost                 | float64  |       | packets sent that never arrived, NaN if an end is not on this host
        lost_total           | float64  |       | packets lost since the first window
        retransmissions      | int64    |       | segments that TCP sent again
        one_way_delay_p50_ns | float64  | ns    | median from first hop to the destination's device, error below 1/64
        one_way_delay_p99_ns | float64  | ns    | 99th percentile of the same delay
        srtt_p50_ns          | float64  | ns    | median of TCP's smoothed round trip times, error below 1/64
    """),
    "segments": read("""
        start_ns  | int64    | ns | start of the window
        end_ns    | int64    | ns | end of the window
        rule      | category |    | name of the aggregate rule
        direction | category |    | src → dst
        segment   | category |    | from point to hop; the place of the first point is not known
        kind      | category |    | processing, queueing or scheduling
        n         | int64    |    | packets that passed the segment
        p50_ns    | float64  | ns | median; the error of quantiles is below 1/64
        p90_ns    | float64  | ns | 90th percentile
        p99_ns    | float64  | ns | 99th percentile
        p999_ns   | float64  | ns | 99.9th percentile
        mean_ns   | float64  | ns | mean, exact
    """),
    "drop_counts": read("""
        start_ns  | int64    | ns    | start of the window
        end_ns    | int64    | ns    | end of the window
        rule      | category |       | name of the aggregate rule
        direction | category |       | src → dst
        place     | category |       | interface, or namespace if there was no interface
        reason    | category |       | drop reason of the kernel
        packets   | int64    |       | packets dropped
        bytes     | int64    | bytes | IP bytes of these packets
    """),
}

TABLES["flows"] = (
    *TABLES["pairs"][:6],
    *read("""
        proto | category | | tcp, udp, icmp, icmpv6 or the protocol number
        sport | uint16   | | source port, 0 if the rule aggregates by pair
        dport | uint16   | | destination port, 0 if the rule aggregates by pair
    """),
    *TABLES["pairs"][6:],
)
