"""Translated rules decide in the kernel as libpcap's own interpreter does, packet by packet.

A small program hands a packet out of a map to the translated function, in both ways that
it may come, and puts the answer into the map.
"""

import ctypes
import mmap
import os
import random
import struct

import pytest

from cmonlab.errors import RuleError
from cmonlab.filters.cbpf import Instruction
from cmonlab.filters.ebpf import encode
from cmonlab.filters.pcapfilter import MAX_INSTRUCTIONS, compile_expression
from cmonlab.filters.translate import WINDOW_BYTES, match_program
from cmonlab.tracing.kernel import bpf
from tests.support.expressions import (
    EXPRESSIONS,
    PCAP,
    as_program,
    compiles,
    expression,
    libpcap_program,
    packets,
    verdict,
)
from tests.support.programs import TAKE, jeq, ld, programs

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.kernel

SLOTS = 16
ROOM_BYTES = 80 * 1024
PACKET = (
    32  # its offset in the map's value; before it linear and total, what to add to the address, a pointer, the mask
)
MAP_TYPE_ARRAY, MMAPABLE, SCHED_CLS = 2, 1 << 10, 3

HOSTED = ["host 10.0.0.1", "host 10.0.0.2", "host 10.0.0.3"]


def call_of(function: int) -> bytes:
    """A call of the function that comes `function` instructions later."""
    return encode(0x85, 0, 1, 0, function)


def caller(map_fd: int) -> bytes:
    """The program's main function, up to its exit."""
    code = [encode(0x18, 6, 2, 0, map_fd), encode(0)]  # r6 = the map's value
    code += [encode(0x7B, 6, 6, 16)]  # a pointer in a map's value comes back as a number
    for at in range(0, WINDOW_BYTES, 8):
        code += [encode(0x79, 1, 6, PACKET + at), encode(0x7B, 10, 1, at - WINDOW_BYTES)]
    code += [encode(0xBF, 1, 10), encode(0x07, 1, imm=-WINDOW_BYTES)]
    code += [encode(0x61, 2, 6, 0), encode(0x61, 3, 6, 4)]
    code += [encode(0x79, 4, 6, 16), encode(0x07, 4, imm=PACKET), encode(0x79, 5, 6, 8), encode(0x0F, 4, 5)]
    # A caller asks which rules took the packet: that must not make the verifier follow each combination.
    asked = [encode(0x45, 0, imm=1 << slot) for slot in range(SLOTS)]
    code += [call_of(3 + SLOTS), encode(0x63, 6, 0, 24), *asked, encode(0xB7, 0), encode(0x95)]
    return b"".join(code)


def load(code: bytes) -> int:
    """Load a program; if the verifier refuses it, say why."""
    text, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")

    def attempt(log) -> int:
        level, size, where = (1, len(log), ctypes.addressof(log)) if log else (0, 0, 0)
        head = (SCHED_CLS, len(code) // 8, ctypes.addressof(text), ctypes.addressof(licence))
        return bpf.call(bpf.PROG_LOAD, struct.pack("<IIQQIIQ", *head, level, size, where))

    try:
        return attempt(None)
    except OSError:
        log = ctypes.create_string_buffer(1 << 24)
        with pytest.raises(OSError):
            attempt(log)
        raise AssertionError("\n".join(log.value.decode().splitlines()[-30:])) from None


class Kernel:
    """Programs with translated rules, and the packet that they read."""

    def __init__(self):
        self._map = bpf.call(bpf.MAP_CREATE, struct.pack("<5I", MAP_TYPE_ARRAY, 4, ROOM_BYTES, 1, MMAPABLE))
        self._value = mmap.mmap(self._map, ROOM_BYTES)
        self._fds: list[int] = []
        self._frame = ctypes.create_string_buffer(64)  # the program looks at none, but the kernel wants one

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unload()
        self._value.close()
        os.close(self._map)

    def unload(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def load(self, rules) -> int:
        """Load the rules, slots from 0 on; return the program's fd."""
        return self.load_code(match_program(list(enumerate(rules))))

    def load_code(self, function: bytes) -> int:
        self._fds.append(load(caller(self._map) + function))
        return self._fds[-1]

    def show(self, packet: bytes, *, linear: int | None = None, total: int | None = None, astray: int = 0) -> None:
        """Let the programs see a packet, followed by bytes that are not its own; `astray` makes the address wrong."""
        linear, total = (len(packet) if n is None else n for n in (linear, total))
        self._value[: PACKET + len(packet) + 64] = struct.pack("<IIqQQ", linear, total, astray, 0, 0) + (
            packet + b"\xa5" * 64
        )

    def mask(self, fd: int) -> int:
        """Run a program on the packet shown."""
        self._value[24:28] = b"\xff" * 4
        attr = struct.pack("<IIIIQQII", fd, 0, len(self._frame), 0, ctypes.addressof(self._frame), 0, 1, 0)
        bpf.call(bpf.PROG_TEST_RUN, attr)
        return struct.unpack_from("<I", self._value, 24)[0]


@pytest.fixture(scope="module")
def kernel():
    with Kernel() as kernel:
        yield kernel


@pytest.fixture(autouse=True)
def unloaded(kernel):
    yield
    kernel.unload()


def whole_packets() -> list[bytes]:
    """Packets that hold an IP header, as the programs show no others to a rule."""
    return [packet for packet in packets() if len(packet) >= 20]


def assert_agree(kernel, rules, references, shown, names=None) -> set[bool]:
    """Every rule against libpcap's interpreter; `shown` are pairs (linear bytes, total length)."""
    names, verdicts = names or rules, set()
    for first in range(0, len(rules), SLOTS):
        fd = kernel.load(rules[first : first + SLOTS])
        for packet, total in shown:
            kernel.show(packet, total=total)
            expected = [verdict(reference, packet, total) for reference in references[first : first + SLOTS]]
            mask = kernel.mask(fd)
            for slot, wanted in enumerate(expected):
                assert mask >> slot & 1 == wanted, (names[first + slot], packet.hex(), total)
            assert not mask >> len(expected)
            verdicts.update(expected)
        kernel.unload()
    return verdicts


def assert_expressions_agree(kernel, texts, shown) -> set[bool]:
    """Each expression as cmonlab compiles it, and as libpcap does without optimising."""
    originals = [libpcap_program(text, 0) for text in texts]
    try:
        unoptimised = [
            [Instruction(insn.code, insn.jt, insn.jf, insn.k) for insn in original.bf_insns[: original.bf_len]]
            for original in originals
        ]
    finally:
        for original in originals:
            PCAP.pcap_freecode(ctypes.byref(original))
    rules = [compile_expression(text) for text in texts] + unoptimised
    return assert_agree(kernel, rules, [as_program(rule) for rule in rules], shown, names=[*texts, *texts])


def test_listed_expressions_agree_with_libpcap(kernel):
    assert len(EXPRESSIONS) > 60
    whole = [(packet, len(packet)) for packet in whole_packets()]
    assert len(whole) > 200
    assert assert_expressions_agree(kernel, EXPRESSIONS, whole) == {False, True}


def test_bytes_that_are_not_linear_do_not_match(kernel):
    rng = random.Random(3)
    cut = [(packet[: rng.randrange(20, len(packet) + 1)], len(packet)) for packet in whole_packets()]
    assert assert_expressions_agree(kernel, EXPRESSIONS, cut) == {False, True}


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(expression.filter(compiles), min_size=5, max_size=16))
def test_any_expression_agrees_with_libpcap(kernel, texts):
    assert_expressions_agree(kernel, texts, [(packet, len(packet)) for packet in whole_packets()[::2]])


# libpcap leaves the scratch words open: each is stored first.
STORES = [Instruction(0x02 + slot % 2, 0, 0, slot) for slot in range(16)]


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(programs().map(lambda program: [*STORES, *program]), min_size=1, max_size=16))
def test_every_opcode_agrees_with_libpcap(kernel, rules):
    assert_agree(kernel, rules, [as_program(rule) for rule in rules], [(p, len(p)) for p in whole_packets()[::5]])


def test_every_offset_of_the_window_agrees_with_libpcap(kernel):
    """The bytes around the edges of the window, of the linear part and of 64 KiB, in every size."""
    packet = random.Random(5).randbytes(70_000)
    indexed = {4: 0x40, 2: 0x48, 1: 0x50}
    for size in (1, 2, 4):
        offsets = [*range(70), 0xFFFF - size, 0xFFFF]
        for group in (offsets[first : first + SLOTS // 2] for first in range(0, len(offsets), SLOTS // 2)):
            values = [int.from_bytes(packet[at : at + size]) for at in group]
            plain = [
                [ld(size, at), jeq(v, 0, 1), TAKE, Instruction(0x06, 0, 0, 0)]
                for at, v in zip(group, values, strict=True)
            ]
            by_x = [
                [Instruction(0x01, 0, 0, at - at // 2), Instruction(indexed[size], 0, 0, at // 2), *rule[1:]]
                for at, rule in zip(group, plain, strict=True)
            ]
            fd = kernel.load(plain + by_x)
            for linear in sorted({20, 70_000} | {n for at in group for n in (at + size - 1, at + size) if n > 20}):
                kernel.show(packet, linear=linear)
                expected = sum(1 << slot for slot, at in enumerate(group) if at + size <= linear)
                assert kernel.mask(fd) == expected | expected << len(group), (size, group, linear)
            kernel.unload()


def test_offsets_beyond_64_kib_reject(kernel):
    there = Instruction(0x01, 0, 0, 0xFFFF)
    rules = [
        [ld(1, 0xFFFF), TAKE],
        [ld(1, 0x10000), TAKE],
        [there, Instruction(0x50, 0, 0, 0), TAKE],
        [there, Instruction(0x50, 0, 0, 1), TAKE],
        [Instruction(0x01, 0, 0, 2**32 - 1), Instruction(0x50, 0, 0, 1), TAKE],
        [Instruction(0x01, 0, 0, 1), Instruction(0x50, 0, 0, 0x10000), TAKE],
    ]
    kernel.show(bytes(70_000))
    assert kernel.mask(kernel.load(rules)) == 0b000101


def test_failed_reads_reject_that_rule_only(kernel):
    texts = ["udp[60:4] != 1", "ip", "ip[ip[1]] != 1", "len = 188", "udp dst port 80"]
    packet = bytes.fromhex("450000bc00000000401100000a0000010a00000214510050" + "a5" * 164)
    rules = [compile_expression(text) for text in texts]
    fd = kernel.load(rules)
    kernel.show(packet)
    assert kernel.mask(fd) == 0b11111
    kernel.show(packet, astray=1 << 62)  # no address of the kernel's any more
    assert kernel.mask(fd) == 0b11010


def test_call_keeps_both_registers(kernel):
    """A length of a header beyond the window goes to X while A, an earlier X and what is linear are still of use."""
    msh, add_x, txa, tax = (Instruction(code, 0, 0, k) for code, k in ((0xB1, 90), (0x0C, 0), (0x87, 0), (0x07, 0)))
    far = Instruction(0x50, 0, 0, 80)
    leave = Instruction(0x06, 0, 0, 0)
    rules = [
        [ld(2, 2), msh, add_x, jeq(0x0203 + 10 * 4, 0, 1), TAKE, leave],
        [ld(1, 30), msh, Instruction(0x15, 0, 3, 30), ld(1, 91), jeq(91, 0, 1), TAKE, leave],
        [ld(1, 5), tax, far, add_x, jeq(85 + 5, 0, 3), txa, jeq(5, 0, 1), TAKE, leave],
    ]
    for length in (92, 91, 90, 60):
        packet = bytes(range(length))
        assert_agree(kernel, rules, [as_program(rule) for rule in rules], [(packet, length)])
    assert all(verdict(as_program(rule), bytes(range(92))) for rule in rules)


def longest(term: str) -> list[Instruction]:
    """The longest rule of such terms that is not refused."""
    rule, terms = [], []
    for count in range(1, MAX_INSTRUCTIONS):
        terms.append(term.format(count, count + 2))
        try:
            rule = compile_expression(" or ".join(terms))
        except RuleError:
            break
    assert len(rule) > MAX_INSTRUCTIONS * 2 // 3
    return rule


def walked(fd: int) -> int:
    """How many instructions the verifier checked (struct bpf_prog_info)."""
    info = ctypes.create_string_buffer(232)
    bpf.call(bpf.OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", fd, len(info), ctypes.addressof(info)))
    return struct.unpack_from("<I", info, 216)[0]


@pytest.mark.parametrize(
    "term",
    [
        "tcp[{0}:4] = {1}",
        "(host 10.0.0.{1} and port {0})",
        "udp[udp[{0}]] = {1}",
        "tcp[((tcp[12] & 0xf0) >> 2) + {0}:4] = {1}",
        "len * {0} = {1}",
        "ip[{0}:4] / ip[2:2] = {1}",
    ],
)
def test_verifier_accepts_sixteen_of_the_longest_rules(kernel, term):
    """And its work grows with their length only, not with the number of paths."""
    rules = [longest(term)] * SLOTS
    length = len(match_program(list(enumerate(rules)))) // 8
    assert length < walked(kernel.load(rules)) < 3 * length


def test_packet_without_options_needs_no_call(kernel):
    """Where the kernel's memory cannot be read, ports behind a header without options still can."""
    fd = kernel.load([compile_expression("tcp dst port 80"), compile_expression("udp[8] = 7")])
    plain = bytes.fromhex("4500003200000000401100000a0000010a00000214510050")
    tcp, udp = plain[:9] + b"\6" + plain[10:] + bytes(16), plain + b"\0\0\0\0\7\0"
    for packet, mask in ((tcp, 0b01), (udp, 0b10)):
        kernel.show(packet, astray=1 << 62)
        assert kernel.mask(fd) == mask
        optional = b"\x46" + packet[1:20] + bytes(4) + packet[20:]
        kernel.show(optional)
        assert kernel.mask(fd) == mask
        kernel.show(optional, astray=1 << 62)
        assert kernel.mask(fd) == 0


def test_rules_set_the_bits_of_their_slots(kernel):
    packet = bytes.fromhex("4500002800000000401100000a0000010a000002") + bytes(20)
    rules = [[TAKE], compile_expression("tcp"), compile_expression("udp"), *map(compile_expression, HOSTED)]
    kernel.show(packet)
    assert kernel.mask(kernel.load(rules)) == 0b011101
    code = match_program([(15, [TAKE]), (2, compile_expression("tcp")), (7, compile_expression("udp"))])
    assert kernel.mask(kernel.load_code(code)) == 1 << 15 | 1 << 7
