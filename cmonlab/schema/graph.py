"""Tables of the network as a graph: its connections, and the traffic on them."""

from .column import Column, read

ROWS: dict[str, str] = {
    "topology": "One row per connection of the network's graph.",
    "edges": "One row per connection, way and, if asked for, window; connections of the same two nodes are summed.",
}

TABLES: dict[str, tuple[Column, ...]] = {
    "topology": read("""
        a           | object |  | node: container, namespace of a host, or place of a bridge, tunnel or uplink
        b           | object |  | other node
        a_kind      | object |  | container, host, bridge, vxlan or interface
        b_kind      | object |  | the same for b
        kind        | object |  | veth, port, tunnel, macvlan, ipvlan, loopback, gateway (of a bridge), uplink or device
        a_interface | object |  | interface of a on this connection, named as places of hops are, empty: none
        b_interface | object |  | the same for b
        a_host      | object |  | namespace of the host that a is on; a itself if that is not known
        b_host      | object |  | the same for b
    """),
    "edges": read("""
        start_ns       | int64    | ns    | start of the window
        end_ns         | int64    | ns    | end of the window
        src            | category |       | node of the table topology
        dst            | category |       | node of the table topology
        packets        | int64    |       | packets that crossed the connection
        bytes          | int64    | bytes | IP bytes of these packets
        throughput_bps | float64  | bit/s | throughput of these bytes
        delay_p50_ns   | float64  | ns    | median time from the last point of src to the stack of dst, NaN: not seen
        delay_p99_ns   | float64  | ns    | 99th percentile of the same time
        dropped        | int64    |       | packets last seen on this connection, on this way, before they were dropped
        loss           | float64  |       | dropped / (packets + dropped), NaN if both are 0
    """),
}
