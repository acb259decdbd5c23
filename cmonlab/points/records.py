"""Numbers in the column ``shape`` of events and cells, as ``bpf/records.h`` defines them; a test compares both."""

#: Bits: addresses are IPv6 ones; the packet is the inner one of a tunnel; it is a later fragment.
SHAPE_IPV6, SHAPE_ENCAP, SHAPE_FRAGMENT = 0x01, 0x02, 0x04
#: The bits from here on: length of the IP and transport headers in 4-byte words, 31 at most.
SHAPE_HEADER_SHIFT = 3
