"""Tables of rules, of the tracer itself, of interfaces and of calibration."""

from .column import Column, read

ROWS: dict[str, str] = {
    "rules": "One row per rule.",
    "budget": "One row per change of a rule's level by its budget; the first one is the level at its start.",
    "ledger": "One row per point: seen is the sum of the other counts, exactly.",
    "trace_gaps": "One row per trace gap: an interval in which tracepoints did not fire on a CPU, so that packets "
    "passed unseen.",
    "overhead": "One row per tracer and metric. Differences and ratios are taken within a round; intervals are 95% "
    "bootstrap intervals of their medians, NaN below five rounds.",
    "program_times": "One row per tracer and point: run time of its program there.",
    "links": "One row per network interface during the recording, and another one after it was renamed or lost an "
    "address, in order of time.",
    "checks": "One row per check of `cmonlab calibrate`.",
}

TABLES: dict[str, tuple[Column, ...]] = {
    "rules": read("""
        slot        | int64   |  | its bit in the column rules of events and journeys
        name        | object  |  | name of the rule
        mode        | object  |  | capture, aggregate or count
        expression  | object  |  | pcap expression, empty: all IP packets
        containers  | object  |  | selectors of containers, empty: the whole host
        sample      | float64 |  | share of the packets; the largest one if a budget varied it
        sample_min  | float64 |  | the smallest share; equal to sample without a budget
        max_overhead | object |  | budget of the rule, empty: none
        first_epoch | int64   |  | number of the first rule set with the rule
        last_epoch  | int64   |  | number of the last rule set with the rule
    """),
    "budget": read("""
        rule          | object  |    | name of the rule
        epoch         | int64   |    | number of the rule set that was active then
        start_ns      | int64   | ns | time before the change
        end_ns        | int64   | ns | time after it; packets in flight meanwhile may lack hops
        mode_before   | object  |    | capture, aggregate or count
        sample_before | float64 |    | share of the packets
        mode          | object  |    | mode after the change; unchanged in a message that the budget can be kept or not
        sample        | float64 |    | share of the packets after the change
        why           | object  |    | measured cost, and the budget
    """),
    "ledger": read("""
        point       | object |  | name of the point
        seen        | int64  |  | packets that passed it
        unmatched   | int64  |  | packets that no rule matched
        sampled_out | int64  |  | packets that matched, but were left out by sampling or by the rate limit
        counted     | int64  |  | packets counted by rules that only count
        aggregated  | int64  |  | packets of rules that aggregate
        overflowed  | int64  |  | packets left out of a full aggregate
        recorded    | int64  |  | events recorded
        lost        | int64  |  | lost events: the tracer's own losses, never packet loss
    """),
    "trace_gaps": read("""
        cpu      | int64 |    | CPU
        start_ns | int64 | ns | time at which tracepoints went silent: an untraced task got the CPU
        end_ns   | int64 | ns | time at which that task left the CPU
    """),
    "overhead": read("""
        tracer     | object  |  | name of the tracer
        metric     | object  |  | throughput, p50, p99, p99.9 (of the workload), CPU or tracer CPU
        unit       | object  |  | unit of the values: per second, ns, ns of CPU time per operation, or CPUs
        untraced   | float64 |  | median of the rounds without a tracer
        observed   | float64 |  | median of the rounds with the tracer
        difference | float64 |  | median of observed - untraced
        low        | float64 |  | lower end of the difference's interval
        high       | float64 |  | upper end of the difference's interval
        ratio      | float64 |  | median of observed / untraced, NaN for tracer CPU
        ratio_low  | float64 |  | lower end of the ratio's interval
        ratio_high | float64 |  | upper end of the ratio's interval
        rounds     | int64   |  | number of measured rounds
    """),
    "program_times": read("""
        tracer  | object  |    | name of the tracer
        point   | object  |    | point at which the program runs
        mean_ns | float64 | ns | mean time of a run, the kernel's own measurement included
        runs    | int64   |    | number of measured runs
    """),
    "links": read("""
        netns     | int64  |  | inode number of the namespace
        namespace | object |  | container's name, or host; of a loopback address in the host's namespace, its user
        ifindex   | int64  |  | interface index within the namespace
        name      | object |  | name of the interface
        kind      | object |  | veth, bridge, vxlan, …, empty for a physical interface
        master    | int64  |  | ifindex of the bridge that it is a port of, 0: none
        peer      | int64  |  | ifindex of the other end of a veth pair, 0: none
        lower     | int64  |  | ifindex of the device below it (macvlan, vxlan, …), 0: none
        link_netns | int64 |  | namespace of its peer or of the device below it, 0: none or not known
        vni       | int64  |  | network identifier of a vxlan, 0: none
        mtu       | int64  | bytes | size of the largest packet
        mac       | object |  | link-layer address
        addresses | object |  | list of IP addresses
        from_ns   | int64  | ns | time since which this row is valid, 0: since before the recording
        to_ns     | int64  | ns | time until which this row is valid, 0: until the end
    """),
    "checks": read("""
        group     | object  |    | delay, loss, counts, throughput, rtt, sampling or overload
        name      | object  |    | scenario and quantity
        truth     | float64 |    | reference value
        measured  | float64 |    | value that cmonlab reported
        error     | float64 |    | measured - truth
        unit      | object  |    | unit of truth, measured, error and tolerance, empty for a share
        tolerance | float64 |    | largest error that passes, 0: exact
        pass      | bool    |    | whether the error is within the tolerance
        note      | object  |    | source of the reference value
        trace_gap_ns  | int64   | ns | total time of trace gaps in the recording
        attempts  | int64   |    | number of attempts; repeated only after trace gaps
    """),
}
