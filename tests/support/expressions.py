"""Expressions, packets, and libpcap's own verdicts on them."""

import ctypes
import random
from functools import lru_cache

import pytest

from cmonlab.errors import CmonlabError
from cmonlab.filters import pcapfilter
from cmonlab.filters.pcapfilter import Instruction, compile_expression

pytest.importorskip("scapy", reason="scapy is not installed")
pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Raw

try:
    PCAP = pcapfilter._libpcap()
except CmonlabError as error:
    pytest.skip(f"libpcap is not installed: {error.why}", allow_module_level=True)

EXPRESSIONS = [
    "",
    "tcp port 11211",
    "udp port 5201",
    "host 10.0.0.1 and tcp",
    "ip6 and udp",
    "icmp or icmp6",
    "net 172.16.0.0/12 and not port 22",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "udp[8:4] = 0x01020304",
    "ip[2:2] > 576",
    "portrange 5000-6000",
    "(tcp port 80 or tcp port 443) and host 10.1.1.1",
    "ip proto 47",
    "greater 1000",
    "less 100",
    "ip6 host fe80::1",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "ip[3:4] = 5 or ip[7:2] = 6 or ip[11:4] > 77777",
    "ip[60:4] > 1 or ip[62:2] > 2 or ip[63] > 3",
    "ip[61:4] > 1 or ip[63:2] > 2 or ip[64] > 3",
    "ip[ip[8:4]:4] = ip[ip[12:4]:2]",
    "ip[ip[1]:4] & 3 = 1",
    "ip[12:4] / ip[1] > 3",
    "ip[12:4] % ip[1] > 3",
    "ip[0] << ip[1] > 3",
    "-ip[0] > 7 and ip[8] * ip[9] - 5 ^ 3 > 1000",
    "ip multicast or ip6 multicast",
    "ip[4000000000] = 1",
    "src net 10.0.0.0 mask 255.255.0.0",
    "len % 3 = 1",
    "not ip",
    "tcp port 80 or udp port 53 or icmp",
    "tcp src port 443 and dst host 10.0.0.2",
    "src host 10.0.0.1 and not dst host 10.0.0.2",
    "src and dst net 10.0.0.0/8",
    "dst portrange 0-1023 and udp",
    "udp portrange 5000-12000 or tcp portrange 0-100",
    "tcp[tcpflags] = tcp-syn",
    "tcp[tcpflags] & tcp-ack != 0 and port 80",
    "icmp[icmptype] = icmp-echo",
    "icmp6 and ip6[40] = 128",
    "ip[6:2] & 0x1fff != 0",
    "ip[6:2] & 0x1fff = 0 and ip[0] & 0xf > 5",
    "ip6[6] = 44 or ip6[6] = 0",
    "ip6 net 2001:db8::/32",
    "ip6 src host fe80::1 and tcp dst port 22",
    "tcp[13] & 2 = 2 and len > 60",
    "len > 40 and len < 1000 and udp",
    "udp[4:2] != len - 28",
    "ip[0] & 0xf != 5 and tcp[0:2] = 80",
    "tcp[20:4] != 0",
    "udp[8:2] = 0x0102 and udp[10:2] = 0x0304",
    "tcp[(tcp[12] >> 4) * 4:2] != 0",
    "ip[ip[3]] = 7",
    "ip[2:2] = len",
    "ip[2:2] - 20 > 100 and ip[8] < 64",
    "proto 17 and ip[1] != 0",
    "ip proto 6 and (src port 22 or dst port 443)",
    "host 224.0.0.5 or ip6 host ff02::1",
    "not (tcp or udp)",
    "greater 64 and not port 11211",
]

PORTS = [22, 53, 80, 443, 5201, 5500, 11211]
HOSTS = ["10.0.0.1", "10.0.0.2", "10.1.1.1", "172.16.3.4", "224.0.0.5"]
HOSTS6 = ["fe80::1", "2001:db8::7", "ff02::1"]


@lru_cache(maxsize=1)
def packets() -> tuple[bytes, ...]:
    """Return IPv4 and IPv6 packets of every transport, with options and fragments; also truncated and random ones."""
    rng = random.Random(7)

    def transport():
        ports = {"sport": rng.choice(PORTS), "dport": rng.choice(PORTS)}
        payload = Raw(rng.choice([b"", b"GET /", b"\1\2\3\4", rng.randbytes(70), rng.randbytes(1300)]))
        flags = rng.choice(["S", "SA", "A", "F", "R"])
        options = rng.choice([[], [("MSS", 1460)], [("NOP", None)] * 12])
        return rng.choice([TCP(flags=flags, options=options, **ports), UDP(**ports), ICMP(), Raw(b"")]) / payload

    made = []
    for _ in range(70):
        header = IP(src=rng.choice(HOSTS), dst=rng.choice(HOSTS), tos=rng.randrange(64), ttl=rng.randrange(1, 255))
        header.options = rng.choice([[], [], [IPOption_RR(routers=["1.2.3.4"] * rng.randrange(1, 9))]])
        header.frag = rng.choice([0, 0, 0, 185])
        made.append(bytes(header / transport()))
        header6 = IPv6(src=rng.choice(HOSTS6), dst=rng.choice(HOSTS6))
        extension = rng.choice([None, None, IPv6ExtHdrHopByHop(), IPv6ExtHdrFragment(offset=rng.choice([0, 9]))])
        body = rng.choice([transport(), ICMPv6EchoRequest()])
        made.append(bytes(header6 / extension / body if extension else header6 / body))
    made += [packet[: rng.randrange(len(packet))] for packet in made[:60]]
    made += [bytes([rng.choice([0x45, 0x4F, 0x60])]) + rng.randbytes(rng.randrange(90)) for _ in range(60)]
    return (*made, b"")


class Header(ctypes.Structure):
    _fields_ = (("time", ctypes.c_long * 2), ("caplen", ctypes.c_uint32), ("len", ctypes.c_uint32))


def libpcap_program(text: str, optimize: int) -> "pcapfilter._Program":
    """Return libpcap's own compilation of the unchanged text."""
    handle, program = PCAP.pcap_open_dead(12, 65535), pcapfilter._Program()
    result = PCAP.pcap_compile(handle, ctypes.byref(program), text.encode(), optimize, 0xFFFFFFFF)
    message = PCAP.pcap_geterr(handle).decode()
    PCAP.pcap_close(handle)
    assert result == 0, (text, message)
    return program


def as_program(instructions: list[Instruction]) -> "pcapfilter._Program":
    """Return the instructions in the form that libpcap's interpreter takes."""
    insns = (pcapfilter._Insn * len(instructions))(*((i.code, i.jt, i.jf, i.k) for i in instructions))
    return pcapfilter._Program(len(instructions), insns)


def verdict(program: "pcapfilter._Program", packet: bytes, total: int | None = None) -> bool:
    """Return the verdict of libpcap's interpreter on a packet of `total` bytes, of which these were captured."""
    header = Header(caplen=len(packet), len=len(packet) if total is None else total)
    return PCAP.pcap_offline_filter(ctypes.byref(program), ctypes.byref(header), packet) != 0


number = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2, 3, 4, 5, 20, 40, 60, 61, 62, 63, 64, 100])
load = st.builds(
    "{}[{}:{}]".format,
    st.sampled_from(["ip", "ip6", "tcp", "udp", "icmp"]),
    st.integers(0, 70) | st.sampled_from(["ip[8]", "ip[1] & 63", "tcp[12] >> 2", "ip[ip[1]:2]", "ip[0] * 4 - 3"]),
    st.sampled_from([1, 2, 4]),
)
arithmetic = st.recursive(
    load | number.map(str) | st.just("len"),
    lambda inner: (
        # libpcap rejects constant divisions by zero and shifts by 32 and more: divide by a value from the packet
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "&", "|", "^"]), inner)
        | st.builds("({} {} {})".format, inner, st.sampled_from(["/", "%", "<<", ">>"]), load)
    ),
    max_leaves=5,
)
relation = st.sampled_from([">", "<", ">=", "<=", "=", "!="])
transport, side = st.sampled_from(["", "tcp ", "udp "]), st.sampled_from(["", "src ", "dst ", "src and dst "])
primitive = (
    st.builds("{} + {} {} {}".format, load, arithmetic, relation, arithmetic)
    | st.builds("{}{}port {}".format, transport, side, st.sampled_from(PORTS))
    | st.builds("{}host {}".format, side, st.sampled_from(HOSTS + HOSTS6))
    | st.builds("{}net 10.0.0.0/{}".format, side, st.integers(8, 32))
    | st.builds("portrange {}-{}".format, st.integers(0, 9000), st.integers(0, 65535))
    | st.builds("{} {}".format, st.sampled_from(["less", "greater"]), st.integers(0, 1500))
    | st.sampled_from(["ip", "ip6", "tcp", "udp", "icmp", "icmp6", "ip proto 47", "ip6 proto 58", "proto 17"])
)
expression = st.recursive(
    primitive,
    lambda inner: (
        st.builds("not ({})".format, inner)
        | st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "&&", "||"]), inner)
    ),
    max_leaves=4,
)


def compiles(text: str) -> bool:
    try:
        return bool(compile_expression(text))
    except CmonlabError as error:
        # An expression that matches nothing or is too long is refused, so there is nothing to compare.
        assert "rejects all" in error.why or "at most" in error.why or "by zero" in error.why or "shift" in error.why, (
            error
        )
        return False
