/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tunnels over UDP: VXLAN (RFC 7348) and Geneve (RFC 8926), known by their ports. Everything
 * that the programs know of them is here. */
#ifndef CMONLAB_TUNNEL_H
#define CMONLAB_TUNNEL_H

#define UDP_BYTES      8
#define ETHERNET_BYTES 14

#define VXLAN_PORT       4789
#define VXLAN_PORT_LINUX 8472 /* the default of Linux */
#define VXLAN_BYTES      8
#define VXLAN_HAS_VNI    0x08 /* the flag I in the first byte */

#define GENEVE_PORT     6081
#define GENEVE_BYTES    8
#define GENEVE_OPTIONS  0x3f   /* bits of the first byte: length of the options in 4-byte words */
#define GENEVE_ETHERNET 0x6558 /* protocol type: an Ethernet frame */

/* Return the offset of the inner IP packet, or 0 if this is no tunnel; `udp` is the UDP
 * header, and `at` its offset. */
static __always_inline u32 behind_udp(const u8 *udp, u32 at)
{
	u16 port = be16(udp + 2);

	if ((port == VXLAN_PORT || port == VXLAN_PORT_LINUX) && (udp[UDP_BYTES] & VXLAN_HAS_VNI))
		return at + UDP_BYTES + VXLAN_BYTES + ETHERNET_BYTES;
	if (port == GENEVE_PORT && be16(udp + UDP_BYTES + 2) == GENEVE_ETHERNET)
		return at + UDP_BYTES + GENEVE_BYTES + (udp[UDP_BYTES] & GENEVE_OPTIONS) * 4 + ETHERNET_BYTES;
	return 0;
}

/* Return the offset of the IP packet inside a tunnel's packet, or 0. Outer headers with IPv4
 * options or IPv6 extensions are not looked into. */
static __always_inline u32 inner_packet(const struct view *v)
{
	const u8 *h = BYTES(v);

	if (h[0] == 0x45)
		return h[9] == PROTO_UDP ? behind_udp(h + 20, 20) : 0;
	return (h[0] >> 4) == 6 && h[6] == PROTO_UDP ? behind_udp(h + 40, 40) : 0;
}

#endif
