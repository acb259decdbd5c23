"""The generated C decides as libpcap's own interpreter does, packet by packet."""

import ctypes
import random
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from cmonlab.errors import CmonlabError
from cmonlab.kernel import pcapfilter
from cmonlab.kernel.pcapfilter import Instruction, compile_expression, to_c

pytest.importorskip("scapy", reason="scapy is not installed")
pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Raw

try:
    PCAP = pcapfilter._libpcap()
except CmonlabError as error:
    pytest.skip(f"libpcap is not installed: {error.why}", allow_module_level=True)
if not shutil.which("gcc"):
    pytest.skip("gcc is not installed", allow_module_level=True)

BPF = Path(__file__).parents[2] / "bpf"
SHIM = """
#include <stdint.h>
#include <string.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64;
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define bpf_ntohs __builtin_bswap16
#define bpf_ntohl __builtin_bswap32
static u8 kernel_memory[1 << 17];
static int bpf_probe_read_kernel(void *to, u32 n, const void *from)
{
    if ((const u8 *)from < kernel_memory || (const u8 *)from + n > kernel_memory + sizeof(kernel_memory))
        return -14;
    memcpy(to, from, n);
    return 0;
}
#include "records.h"
#include "packet.h"
"""
RUN = """
#undef rule_matches
typedef int (*rule)(const struct view *);
static const rule rules[] = { %s };
void set_packet(const u8 *packet, u32 n)
{
    memset(kernel_memory, 0xa5, n + 4 * WINDOW);
    memcpy(kernel_memory, packet, n);
}
int run(u32 i, u32 linear, u32 total)
{
    struct view v;
    view_read(&v, kernel_memory, linear, total);
    return rules[i](&v);
}
"""

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
]

PORTS = [22, 53, 80, 443, 5201, 5500, 11211]
HOSTS = ["10.0.0.1", "10.0.0.2", "10.1.1.1", "172.16.3.4", "224.0.0.5"]
HOSTS6 = ["fe80::1", "2001:db8::7", "ff02::1"]


@lru_cache(maxsize=1)
def packets() -> tuple[bytes, ...]:
    """IPv4 and IPv6, every transport, options, fragments, cut short, and plain noise."""
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
    """libpcap's own compilation of the text as it stands."""
    handle, program = PCAP.pcap_open_dead(12, 65535), pcapfilter._Program()
    result = PCAP.pcap_compile(handle, ctypes.byref(program), text.encode(), optimize, 0xFFFFFFFF)
    message = PCAP.pcap_geterr(handle).decode()
    PCAP.pcap_close(handle)
    assert result == 0, (text, message)
    return program


def translated(program) -> list[Instruction]:
    return [Instruction(insn.code, insn.jt, insn.jf, insn.k) for insn in program.bf_insns[: program.bf_len]]


def compile_rules(programs, folder: Path) -> ctypes.CDLL:
    """One library with the generated C of all programs, every warning an error."""
    text = SHIM
    for i, program in enumerate(programs):
        text += f"#undef rule_matches\n#define rule_matches rule_{i}\n{to_c(program)}"
    text += RUN % ", ".join(f"rule_{i}" for i in range(len(programs)))
    number = len(list(folder.iterdir()))
    source, library = folder / f"{number}.c", folder / f"{number}.so"
    source.write_text(text)
    warnings = [
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-function",
        "-Wno-unknown-pragmas",
        "-Wno-address-of-packed-member",
        "-Wno-type-limits",
    ]
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", *warnings, "-I", BPF, source, "-o", library], check=True)
    return ctypes.CDLL(str(library))


def assert_agree(programs, references, library, names):
    """`programs` ran as C, `references` in libpcap's interpreter, on every packet."""
    verdicts = set()
    for packet in packets():
        library.set_packet(packet, len(packet))
        header = Header(caplen=len(packet), len=len(packet))
        for i, reference in enumerate(references):
            expected = PCAP.pcap_offline_filter(ctypes.byref(reference), ctypes.byref(header), packet) != 0
            got = library.run(i, len(packet), len(packet)) != 0
            assert got == expected, (names[i], packet.hex(), programs[i])
            verdicts.add(got)
    return verdicts


def assert_expressions_agree(expressions, folder):
    references = [libpcap_program(text, optimize) for text in expressions for optimize in (1, 0)]
    programs = [
        compile_expression(expressions[i // 2]) if i % 2 == 0 else translated(reference)
        for i, reference in enumerate(references)
    ]
    library = compile_rules(programs, folder)
    try:
        return assert_agree(programs, references, library, [text for text in expressions for _ in range(2)])
    finally:
        for reference in references:
            PCAP.pcap_freecode(ctypes.byref(reference))


def test_listed_expressions_agree_with_libpcap(tmp_path):
    assert assert_expressions_agree(EXPRESSIONS, tmp_path) == {False, True}


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
        # libpcap rejects constant divisions by zero and shifts by 32 and more: divide by what a packet holds
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
        # What cannot match anything, and what is too long, is refused: nothing to compare.
        assert "rejects all" in error.why or "at most" in error.why or "by zero" in error.why or "shift" in error.why, (
            error
        )
        return False


# Without shrinking: each try is a run of gcc, and the message names the one expression.
@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(expression.filter(compiles), min_size=15, max_size=30))
def test_any_expression_agrees_with_libpcap(tmp_path_factory, expressions):
    assert_expressions_agree(expressions, tmp_path_factory.mktemp("rules"))


OPERANDS = [0, 1, 2, 3, 12, 20, 33, 60, 61, 63, 64, 200, 0xFFFF, 0xFFFFFFFE]
OPCODES = {
    "near": [0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1],
    "far": [0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1, 0x00, 0x01, 0x80, 0x81],
    "constant": [0x04, 0x14, 0x24, 0x44, 0x54, 0xA4, 0x84],
    "division": [0x34, 0x94],
    "shift": [0x64, 0x74],
    "register": [0x0C, 0x1C, 0x2C, 0x3C, 0x4C, 0x5C, 0x6C, 0x7C, 0x9C, 0xAC, 0x07, 0x87],
    "scratch": [0x60, 0x61, 0x02, 0x03],
    "jump": [0x15, 0x25, 0x35, 0x45, 0x1D, 0x2D, 0x3D, 0x4D],
    "always": [0x05],
}


def random_instruction(rng: random.Random, left: int) -> Instruction:
    """Any opcode, of which the jumps stay within the `left` instructions that follow."""
    family = rng.choice(list(OPCODES))
    skip = [rng.randrange(min(left, 4)) for _ in range(3)]
    k = rng.choice([*OPERANDS, rng.randrange(70), rng.randrange(2**32)])
    k = {"near": k % 30, "division": k or 1, "shift": k % 32, "scratch": k % 16, "always": skip[2]}.get(family, k)
    jt, jf = skip[:2] if family == "jump" else (0, 0)
    return Instruction(rng.choice(OPCODES[family]), jt, jf, k)


def random_program(rng: random.Random) -> list[Instruction]:
    """Any mixture of opcodes; every scratch word is stored first, as libpcap leaves them open."""
    stores = [Instruction(rng.choice([0x02, 0x03]), 0, 0, slot) for slot in range(16)]
    body = [random_instruction(rng, left) for left in range(rng.randrange(5, 40), 0, -1)]
    return [*stores, *body, Instruction(0x16, 0, 0, 0) if rng.random() < 0.7 else Instruction(0x06, 0, 0, 1)]


def test_every_opcode_agrees_with_libpcap(tmp_path):
    rng = random.Random(11)
    programs = [random_program(rng) for _ in range(150)]
    references = []
    for program in programs:
        insns = (pcapfilter._Insn * len(program))(*((i.code, i.jt, i.jf, i.k) for i in program))
        references.append(pcapfilter._Program(len(program), insns))
    assert assert_agree(programs, references, compile_rules(programs, tmp_path), range(150)) == {False, True}


def test_bytes_outside_the_linear_part_reject(tmp_path):
    packet = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5201, dport=80) / Raw(b"\1\2\3\4" * 40))
    texts = ["udp[8:4] = 0x01020304", "udp[60:4] = 0x01020304", "ip src host 10.0.0.1", "not udp[8:4] = 7", "len = 188"]
    library = compile_rules([compile_expression(text) for text in texts], tmp_path)
    library.set_packet(packet, len(packet))

    def matches(linear):
        return [library.run(i, linear, len(packet)) for i in range(len(texts))]

    assert matches(len(packet)) == [1, 1, 1, 1, 1]
    assert matches(32) == [1, 0, 1, 1, 1]
    assert matches(31) == [0, 0, 1, 0, 1]
    assert matches(20) == [0, 0, 1, 0, 1]
    assert matches(8) == [0, 0, 0, 0, 1]
