"""Programs of classic BPF, and a strategy that draws them."""

from hypothesis import strategies as st

from cmonlab.filters.cbpf import Instruction

TAKE, LEAVE = Instruction(0x06, 0, 0, 65535), Instruction(0x06, 0, 0, 0)


def ld(size: int, k: int) -> Instruction:
    """Return a load of A from a fixed offset."""
    return Instruction({4: 0x20, 2: 0x28, 1: 0x30}[size], 0, 0, k)


def jeq(k: int, jt: int, jf: int) -> Instruction:
    return Instruction(0x15, jt, jf, k)


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
    "end": [0x06, 0x16],
}


number = st.sampled_from(OPERANDS) | st.integers(0, 70) | st.integers(0, 2**32 - 1)


@st.composite
def programs(draw, longest: int = 40):
    """Draw a mixture of opcodes of libpcap's interpreter, with jumps inside of the program."""
    made = []
    for left in range(draw(st.integers(0, longest)), 0, -1):
        family = draw(st.sampled_from(list(OPCODES)))
        skips = st.integers(0, min(left - 1, 3))
        k = draw(number)
        k = {"near": k % 30, "division": k or 1, "shift": k % 32, "scratch": k % 16}.get(family, k)
        k = draw(skips) if family == "always" else k
        jt, jf = (draw(skips), draw(skips)) if family == "jump" else (0, 0)
        made.append(Instruction(draw(st.sampled_from(OPCODES[family])), jt, jf, k))
    return [*made, Instruction(0x16, 0, 0, 0) if draw(st.booleans()) else TAKE]
