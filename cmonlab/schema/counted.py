"""Tables of what aggregate rules counted."""

from .column import Column, read

TABLES: dict[str, tuple[Column, ...]] = {
    # Aggregates: one row a window and direction; windows without packets have none. Of captured events: one row a
    # direction, the recording its window; what is lost is what was dropped, and the rule has no name.
    "pairs": read("""
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
    "segments": read("""
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
    "drop_counts": read("""
        start_ns  | int64    | ns    | begin of the window
        end_ns    | int64    | ns    | its end
        rule      | category |       | name of the aggregate rule
        direction | category |       | src → dst
        place     | category |       | interface, or namespace where there was none
        reason    | category |       | the kernel's drop reason
        packets   | int64    |       | dropped
        bytes     | int64    | bytes | of their IP packets
    """),
}

# One row a window and flow.
TABLES["flows"] = (
    *TABLES["pairs"][:6],
    *read("""
        proto | category | | tcp, udp, icmp, icmpv6 or the protocol number
        sport | uint16   | | source port, 0 where the rule aggregates by pair
        dport | uint16   | | destination port, 0 where the rule aggregates by pair
    """),
    *TABLES["pairs"][6:],
)
