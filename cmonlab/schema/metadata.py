"""Tables that stand in a manifest or a report."""

from .column import Column, read

TABLES: dict[str, tuple[Column, ...]] = {
    # One row a rule.
    "rules": read("""
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
    "budget": read("""
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
    # One row a point: seen is the sum of the rest, exactly.
    "ledger": read("""
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
    # One row per trace gap: an interval in which tracepoints did not fire on a CPU, so that packets passed unseen.
    "trace_gaps": read("""
        cpu      | int64 |    | processor
        start_ns | int64 | ns | when the task came that is kept from view
        end_ns   | int64 | ns | when it was gone
    """),
    # One row a tracer and metric. Differences and ratios are taken within a round; intervals are 95% bootstrap
    # intervals of their medians, NaN below five rounds.
    "overhead": read("""
        tracer   | object  |  | who looked on
        metric     | object  |  | throughput, p50, p99, p99.9 (the workload's own), CPU or tracer CPU
        unit       | object  |  | of the values: per second, ns, ns of a processor per piece of work, or processors
        untraced   | float64 |  | median of the rounds without a tracer
        observed   | float64 |  | median of the rounds with it
        difference | float64 |  | median of observed less untraced
        low        | float64 |  | lower end of the difference's interval
        high       | float64 |  | upper end of the difference's interval
        ratio      | float64 |  | median of observed / untraced, NaN for tracer CPU
        ratio_low  | float64 |  | lower end of the ratio's interval
        ratio_high | float64 |  | upper end of the ratio's interval
        rounds     | int64   |  | rounds that were measured
    """),
    # One row a tracer and point: what its program takes of a packet's time there.
    "program_times": read("""
        tracer | object  |    | who looked on
        point    | object  |    | where the program runs
        mean_ns  | float64 | ns | mean time of a run, the kernel's counting of it included
        runs     | int64   |    | runs that were counted
    """),
    # One row an interface of a namespace, as it was while the recording ran; another when it was renamed or lost an
    # address, in order of time.
    "links": read("""
        netns     | int64  |  | inode number of the namespace
        namespace | object |  | container's name, or host; of a loopback address in the host's namespace, who uses it
        ifindex   | int64  |  | number within the namespace
        name      | object |  | interface's name
        kind      | object |  | veth, bridge, vxlan, …, empty for a physical one
        master    | int64  |  | ifindex of the bridge it is a port of, 0 none
        peer      | int64  |  | ifindex of a veth's other end, 0 none
        lower     | int64  |  | ifindex of the device that it sits on (macvlan, vxlan, …), 0 none
        link_netns | int64 |  | namespace of its peer or of what it sits on, 0 none or not known
        vni       | int64  |  | number of a vxlan's overlay, 0 none
        mtu       | int64  | bytes | largest packet
        mac       | object |  | link address
        addresses | object |  | list of IP addresses
        from_ns   | int64  | ns | when it became so, 0 before the recording
        to_ns     | int64  | ns | when it was so no more, 0 still so
    """),
    # One row a check of `cmonlab calibrate`.
    "checks": read("""
        group     | object  |    | what is checked: delay, loss, counts, throughput, rtt, sampling or overload
        name      | object  |    | the situation and the quantity
        truth     | float64 |    | what is known of it, in the unit of the row
        measured  | float64 |    | what cmonlab reported
        error     | float64 |    | measured less truth
        unit      | object  |    | of truth, measured, error and tolerance; empty for a share
        tolerance | float64 |    | the greatest error that passes, 0: exact
        pass      | bool    |    | whether the error is within the tolerance
        note      | object  |    | how the truth is known
        trace_gap_ns  | int64   | ns | for how long tracepoints stayed silent in the recording
        attempts  | int64   |    | how often it was made; again only where tracepoints were silent
    """),
}
