"""Tables of the network as a graph: what is wired to what, and what passed there."""

from .column import Column, read

TABLES: dict[str, tuple[Column, ...]] = {
    # One row a connection that one would draw.
    "topology": read("""
        a           | object |  | node: container, namespace of a host, or the place of a bridge, tunnel or uplink
        b           | object |  | node
        a_kind      | object |  | container, host, bridge, vxlan or interface
        b_kind      | object |  | the same of b
        kind        | object |  | veth, port, tunnel, macvlan, ipvlan, loopback, gateway (of a bridge), uplink or device
        a_interface | object |  | interface of a on this connection, as hops name places; empty: none of its own
        b_interface | object |  | interface of b
        a_host      | object |  | namespace of the host that a is on; its own name where that is not known
        b_host      | object |  | the same of b
    """),
    # One row a connection and way (and window). Where two connections join the same nodes, it is of both.
    "edges": read("""
        start_ns       | int64    | ns    | begin of the window
        end_ns         | int64    | ns    | its end
        src            | category |       | node of the table topology
        dst            | category |       | node
        packets        | int64    |       | that crossed it
        bytes          | int64    | bytes | of their IP packets
        throughput_bps | float64  | bit/s | of these bytes
        delay_p50_ns   | float64  | ns    | median time from the last point of src to the stack of dst, NaN: not seen
        delay_p99_ns   | float64  | ns    | 99th percentile
        dropped        | int64    |       | packets that were seen last there, on this way
        loss           | float64  |       | dropped / (packets + dropped), NaN where both are 0
    """),
}
