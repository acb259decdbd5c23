"""Translation of classic BPF to eBPF: encoding, refusals, and rules of the verifier."""

import struct

import pytest

from cmonlab.errors import RuleError
from cmonlab.filters import ebpf
from cmonlab.filters.cbpf import Instruction
from cmonlab.filters.ebpf import Assembler, Register
from cmonlab.filters.translate import match_program

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.programs import LEAVE, OPCODES, TAKE, jeq, ld, number, programs

R0, R1, R2, R5, R6, R7, R10 = (Register(n) for n in (0, 1, 2, 5, 6, 7, 10))
PROBE_READ = bytes([0x85, 0, 0, 0, 113, 0, 0, 0])
# libpcap's compilation of this expression.
TCP_PORT_11211 = [
    (0x30, 0, 0, 0), (0x54, 0, 0, 0xF0), (0x15, 0, 6, 0x60), (0x30, 0, 0, 6), (0x15, 0, 17, 6), (0x28, 0, 0, 40),
    (0x15, 14, 0, 11211), (0x28, 0, 0, 42), (0x15, 12, 13, 11211), (0x30, 0, 0, 0), (0x54, 0, 0, 0xF0),
    (0x15, 0, 10, 0x40), (0x30, 0, 0, 9), (0x15, 0, 8, 6), (0x28, 0, 0, 6), (0x45, 6, 0, 0x1FFF), (0xB1, 0, 0, 0),
    (0x48, 0, 0, 0), (0x15, 2, 0, 11211), (0x48, 0, 0, 2), (0x15, 0, 1, 11211), (0x06, 0, 0, 65535), (0x06, 0, 0, 0),
]  # fmt: skip
# Start: the mask is 0, unknown to the verifier. End: the mask is returned.
START, END = ["bf 30 0 0x0", "1f 30 0 0x0", "63 0a -100 0x0"], ["61 a0 -100 0x0", "95 00 0 0x0"]


def taken(slot: int) -> list[str]:
    return ["61 a0 -100 0x0", f"44 00 0 {1 << slot:#x}", "63 0a -100 0x0"]


def lines(code: bytes) -> list[str]:
    """Return the instructions in hexadecimal: opcode, registers (source, destination), offset, immediate number."""
    return [
        f"{op:02x} {registers:02x} {offset} {imm:#x}"
        for op, registers, offset, imm in struct.iter_unpack("<BBhI", code)
    ]


def translated(*program: Instruction, slot: int = 0) -> list[str]:
    """Return the code of one rule, without start and end of the function."""
    code = lines(match_program([(slot, program)]))
    assert code[-2:] == END
    return code[code.index(START[-1]) + 1 : -2]


def test_assembler_encodes_instructions():
    asm = Assembler()
    asm.alu(ebpf.ADD, R5, 7)
    asm.alu(ebpf.ADD, R5, R6, wide=True)
    asm.alu(ebpf.AND, R5, 0xFFFFFFFF)
    asm.big_endian(R5, 2)
    asm.load(2, R5, R1, 12)
    asm.store(8, R10, -8, R1)
    asm.store(4, R10, -16, 0)
    asm.jump_if(ebpf.JEQ, R5, 6, "end")
    asm.jump_if(ebpf.JSET, R5, R6, "end")
    asm.jump("end")
    asm.call(113)
    asm.place("end")
    asm.exit()
    assert len(asm) == 12
    assert lines(asm.assemble()) == [
        "04 05 0 0x7",
        "0f 65 0 0x0",
        "54 05 0 0xffffffff",
        "dc 05 0 0x10",
        "69 15 12 0x0",
        "7b 1a -8 0x0",
        "62 0a -16 0x0",
        "16 05 3 0x6",
        "4e 65 2 0x0",
        "05 00 1 0x0",
        "85 00 0 0x71",
        "95 00 0 0x0",
    ]


@pytest.mark.parametrize("between", [0x7FFF, 0x8000])
def test_jump_distance_is_limited_to_16_bits(between):
    asm = Assembler()
    asm.jump("end")
    for _ in range(between):
        asm.exit()
    asm.place("end")
    asm.exit()
    if between > 0x7FFF:
        with pytest.raises(RuleError, match="jump over 32768 instructions of at most 32767"):
            asm.assemble()
    else:
        assert asm.assemble()[:8] == bytes([0x05, 0, 0xFF, 0x7F, 0, 0, 0, 0])


def test_function_without_rules_matches_nothing():
    assert lines(match_program([])) == START + END


def test_constant_verdict_sets_the_bit_of_its_slot():
    assert translated(TAKE, slot=3) == taken(3)
    assert translated(LEAVE) == []
    assert translated(Instruction(0x05, 0, 0, 1), LEAVE, TAKE, slot=31) == taken(31)
    code = match_program([(0, [TAKE]), (5, [LEAVE]), (9, [TAKE])])
    assert lines(code) == START + taken(0) + taken(9) + END
    with pytest.raises(RuleError, match="no slot 32"):
        match_program([(32, [TAKE])])


def test_protocol_filter_has_three_instructions():
    assert translated(ld(1, 9), jeq(6, 0, 1), TAKE, LEAVE) == ["71 15 9 0x0", "56 05 3 0x6", *taken(0)]


def test_registers_and_scratch_words_start_as_0():
    take_a = [Instruction(0x16, 0, 0, 0)]
    assert translated(Instruction(0x60, 0, 0, 3), *take_a) == [
        "62 0a -48 0x0",
        "61 a5 -48 0x0",
        "16 05 3 0x0",
        *taken(0),
    ]
    assert translated(Instruction(0x0C, 0, 0, 0), *take_a)[:3] == ["b4 05 0 0x0", "b4 06 0 0x0", "0c 65 0 0x0"]
    assert translated(ld(1, 0), Instruction(0x02, 0, 0, 3), *take_a)[:2] == ["71 15 0 0x0", "63 5a -48 0x0"]


def test_length_is_checked_only_where_it_is_not_known():
    last = [jeq(5, 0, 1), TAKE, LEAVE]
    assert not any(line.startswith("a6") for line in translated(ld(4, 16), *last))
    checks = translated(ld(2, 20), jeq(1, 3, 0), ld(1, 21), ld(2, 20), ld(4, 20), *last)
    assert [line.split()[-1] for line in checks if line.startswith("a6")] == ["0x16", "0x18"]
    # where paths meet, only the length that both checked is known
    meet = translated(ld(1, 0), jeq(1, 0, 1), ld(1, 40), ld(1, 30), *last)
    assert [line.split()[-1] for line in meet if line.startswith("a6")] == ["0x29", "0x1f"]


def test_unaligned_load_is_split_into_aligned_loads():
    for size, offset, loads in [(4, 3, ["71", "69", "71"]), (4, 6, ["69", "69"]), (2, 7, ["71", "71"]), (2, 6, ["69"])]:
        rule = [ld(size, offset), jeq(5, 0, 1), TAKE, LEAVE]
        code = translated(*rule)
        assert [line[:2] for line in code if line[:2] in ("71", "69", "61") and line[3] == "1"] == loads


def test_load_behind_a_20_byte_ip_header_calls_no_helper():
    rule = [Instruction(0xB1, 0, 0, 0), Instruction(0x48, 0, 0, 2), jeq(80, 0, 1), TAKE, LEAVE]
    code = translated(*rule)
    branch = next(at for at, line in enumerate(code) if line.startswith("56 06") and line.endswith("0x14"))
    check = code[branch + 2]
    assert code[branch + 1 : branch + 5] == ["61 a2 -20 0x0", check, "69 15 22 0x0", "dc 05 0 0x10"]
    assert check.startswith("a6 02") and check.endswith("0x18")
    other = match_program([(0, rule)]).count(PROBE_READ)
    assert other == 1
    assert match_program([(0, [ld(4, 44), jeq(1, 0, 1), TAKE, LEAVE])]).count(PROBE_READ) == 0
    assert match_program([(0, [ld(4, 45), jeq(1, 0, 1), TAKE, LEAVE])]).count(PROBE_READ) == 1


@pytest.mark.parametrize(
    "rejecting",
    [ld(1, 0x10000), Instruction(0x50, 0, 0, 0x10000), Instruction(0xB1, 0, 0, 2**32 - 1), Instruction(0x34, 0, 0, 0)],
)
def test_instruction_that_always_rejects_emits_no_code(rejecting):
    assert not set(translated(rejecting, TAKE)) - {"b4 05 0 0x0", "b4 06 0 0x0", "05 00 0 0x0"}


def test_common_rule_has_fewer_than_80_instructions():
    rule = [Instruction(*fields) for fields in TCP_PORT_11211]
    sizes = [len(match_program([(n, rule) for n in range(count)])) // 8 for count in (0, 1, 16)]
    assert sizes[1] - sizes[0] < 80
    assert sizes[2] - sizes[0] < 16 * 80


RETURN = Instruction(0x06, 0, 0, 1)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ([], "without a return"),
        ([Instruction(0x04, 0, 0, 1)], "without a return"),
        ([Instruction(0x05, 0, 0, 0xFFFFFFFF), RETURN], "out of the program"),
        ([Instruction(0x05, 0, 0, 1), RETURN], "out of the program"),
        ([Instruction(0x15, 1, 0, 5), RETURN], "out of the program"),
        ([Instruction(0x15, 0, 1, 5), RETURN], "out of the program"),
        ([Instruction(0x02, 0, 0, 16), RETURN], "scratch word 16"),
        ([Instruction(0x61, 0, 0, 16), RETURN], "scratch word 16"),
        ([Instruction(0xFFFF, 0, 0, 0), RETURN], "0xffff"),
        ([Instruction(0xC4, 0, 0, 0), RETURN], "0x00c4"),
        ([Instruction(0x38, 0, 0, 0), RETURN], "0x0038"),
        ([Instruction(0xA1, 0, 0, 0), RETURN], "0x00a1"),
    ],
)
def test_broken_program_is_refused(program, said):
    with pytest.raises(RuleError, match=said) as caught:
        match_program([(0, [TAKE]), (1, program)])
    assert caught.value.why and caught.value.fix


@pytest.mark.parametrize("k", [-1, 2**32, 1.0, True, "1; evil()"])
def test_instruction_takes_32_bit_numbers_only(k):
    with pytest.raises(RuleError, match="k = "):
        Instruction(0x06, 0, 0, k)


LOADS, STORES, CALL, EXIT, ALWAYS = {0x71, 0x69, 0x61, 0x79}, {0x63, 0x7B, 0x62}, 0x85, 0x95, 0x05
CALL_DESTROYS = frozenset(range(1, 6))


def assert_verifier_would_accept(code: bytes) -> None:
    """Check rules of the verifier: forward jumps, no dead code, no register read before it is set, stack bounds."""
    decoded = list(struct.iter_unpack("<BBhI", code))
    known = {0: frozenset({1, 2, 3, 4, 10})}  # before each instruction, the registers that are set
    for at, (op, registers, offset, _) in enumerate(decoded):
        assert at in known, f"{at} cannot be reached"
        src, dst, held = registers >> 4, registers & 15, known[at]
        kind, by_register = op & 7, bool(op & 8)
        if op == EXIT:
            assert 0 in held
            continue
        if op in LOADS | STORES:
            size = {0x10: 1, 0x08: 2, 0x00: 4, 0x18: 8}[op & 0x18]
            base = src if op in LOADS else dst
            assert base in held
            if base == 10:
                assert -104 <= offset <= -size and offset % size == 0
            else:
                assert base == 1 and op in LOADS and 0 <= offset <= 48 - size and offset % size == 0
        reads = {dst} if op in STORES or kind == 6 or (kind in (4, 7) and op & 0xF0 != 0xB0) else set()
        reads |= {src} if op in (0x63, 0x7B) or (by_register and kind in (4, 6, 7) and op & 0xF0 != 0xD0) else set()
        assert reads <= held, (at, op)
        after = held - CALL_DESTROYS | {0} if op == CALL else held | ({dst} if kind in (4, 7) or op in LOADS else set())
        for target in (
            {at + 1}
            if kind not in (5, 6) or op == CALL
            else {at + 1 + offset, at + 1} - ({at + 1} if op == ALWAYS and offset else set())
        ):
            assert at < target < len(decoded)
            known[target] = known.get(target, after) & after


@settings(max_examples=100)
@given(st.lists(programs(), max_size=4))
def test_any_program_is_translated(rules):
    code = match_program(list(enumerate(rules)))
    assert_verifier_would_accept(code)


instructions = st.builds(
    Instruction,
    st.integers(0, 0xFF)
    | st.integers(0, 0xFFFF)
    | st.sampled_from([code for codes in OPCODES.values() for code in codes]),
    st.integers(0, 3) | st.integers(0, 255),
    st.integers(0, 3) | st.integers(0, 255),
    number,
)


@settings(max_examples=300)
@given(st.lists(instructions, max_size=8).map(lambda program: [*program, TAKE]))
def test_any_instructions_are_translated_or_refused(program):
    try:
        code = match_program([(0, program)])
    except RuleError as refusal:
        assert refusal.why and refusal.fix
    else:
        assert_verifier_would_accept(code)
