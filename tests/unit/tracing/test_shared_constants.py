"""Numbers that the C code and Python share: each is read from the headers of ``bpf/``, or compared with them here."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from cmonlab.data.analysis import aggregate, histogram
from cmonlab.data.store import cells, directory
from cmonlab.filters import translate
from cmonlab.points import records
from cmonlab.points.catalogue import CATALOGUE, FIRST_PROBE, MAX_PROBES
from cmonlab.points.probe import MAX_FIELDS
from cmonlab.rules import MAX_RULES
from cmonlab.schema import columns, describe
from cmonlab.study.calibrate.groups import overload
from cmonlab.tracing import constants, ring
from cmonlab.tracing.generation import Rule
from cmonlab.tracing.kernel import addresses, defines, programs, splice, symbols
from tests.support import ROOT, aggregates

BPF = ROOT / "bpf"
RECORDS = defines.defines("records.h")
_BYTES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}


def code(file: str) -> str:
    """Return a file without its comments."""
    return re.sub(r"/\*.*?\*/", "", (BPF / file).read_text(), flags=re.DOTALL)


def fields(struct: str, file: str = "records.h") -> dict[str, str]:
    """Return the types of a struct's members by name, without those named ``unused``."""
    body = re.search(rf"struct {struct} \{{\n(.*?)\n\}};", code(file), re.DOTALL)[1]
    return {name: kind for kind, name in re.findall(r"(\w+) (\w+)(?:\[\w+\])?;", body) if name != "unused"}


def function(name: str, file: str) -> str:
    """Return the body of a C function."""
    return re.search(rf"\b{name}\([^)]*\)\n\{{\n(.*?)\n\}}", code(file), re.DOTALL)[1]


def size(struct: str) -> int:
    return sum(_BYTES[kind] for kind in fields(struct).values())


# ---- records.h -----------------------------------------------------------------


def test_bits_of_the_shape_are_those_of_the_header():
    expected = {name: value for name, value in RECORDS.items() if name.startswith("SHAPE_")}
    assert {name: value for name, value in vars(records).items() if name.isupper()} == expected
    assert len(expected) == 4


def test_kinds_of_cells_are_those_of_the_header():
    kinds = {name.removeprefix("CELL_"): value for name, value in RECORDS.items() if name.startswith("CELL_")}
    assert kinds == {name: getattr(aggregate, name) for name in kinds} and len(kinds) == 6
    assert kinds == {name: getattr(aggregates, "DROPPED" if name == "DROP" else name) for name in kinds}


def test_events_have_a_column_of_the_same_type_for_every_member_of_a_hop():
    stored = {name: f"u{8 * of.dtype.itemsize}" for name, of in directory.empty_columns().items()}
    assert fields("hop") == {name: kind for name, kind in stored.items() if name != "cpu"}
    assert all(of.dtype.kind == "u" for name, of in directory.empty_columns().items() if name != "ts_ns")
    assert size("hop") == 56 == int(re.search(r"sizeof\(struct hop\) == (\d+)", code("records.h"))[1])


def test_cells_have_a_column_for_every_member_of_a_key_and_a_cell():
    key, cell = fields("cell_key"), fields("cell")
    members = {name: kind for name, kind in (key | cell).items() if name not in ("hash", "key", "cell_key")}
    stored = {name: f"u{8 * np.dtype(kind).itemsize}" for name, kind in cells.DTYPES.items()}
    assert members == {name: kind for name, kind in stored.items() if name not in ("start_ns", "end_ns")}


def test_the_ledger_has_a_column_for_every_counter():
    counts = list(fields("counters"))
    assert counts.pop() == "rules"
    table = list(columns("ledger"))
    assert table[-len(counts) :] == counts
    assert counts == ["seen", *overload._FATES]


def test_a_tally_has_the_counts_of_a_rule():
    assert set(fields("tally")) == {"packets", "bytes", "sampled_out", "limited", "overflowed", "zero"}


def test_a_slot_has_the_size_of_the_header():
    assert RECORDS["SLOT_BYTES"] == ring.SLOT_BYTES == size("hop") + _BYTES[fields("slot")["sequence"]] == 64
    assert list(fields("slot")) == ["hop", "sequence"], "the reader takes them in this order"
    assert {"taken", "read"} == set(fields("ring"))


def test_the_id_of_trace_gaps_is_that_of_no_point():
    ids = {point.id for point in CATALOGUE} | set(range(FIRST_PROBE, FIRST_PROBE + MAX_PROBES))
    assert RECORDS["POINT_TRACE_GAP"] == 255 and RECORDS["POINT_TRACE_GAP"] not in ids


def test_buckets_of_histograms_are_those_of_the_programs():
    assert RECORDS["BUCKET_BITS"] == histogram.PART_BITS
    assert "<< BUCKET_BITS" in function("bucket_of", "aggregate.h")
    times = np.array([0, 1, 63, 64, 65, 127, 128, 1000, 10**6, 2**40 - 1])
    assert [aggregates.bucket_of(int(time)) for time in times] == histogram.bucket_of(times).tolist()
    assert int(re.search(r"#define STEP (\d+)", code("aggregate.h"))[1]) > histogram.BUCKETS


def test_a_drop_reason_has_the_place_that_the_programs_give_it():
    shift = RECORDS["REASON_SUBSYSTEM_SHIFT"]
    assert symbols.drop_reasons({3 << 16 | 5: "SKB_DROP_REASON_X"}) == {str(3 << shift | 5): "X"}
    assert "<< REASON_SUBSYSTEM_SHIFT" in code("points.c") and shift == 12


def test_the_unit_of_objects_is_that_of_the_table_of_events():
    meaning = describe("events").set_index("column").loc["skb", "meaning"]
    assert re.search(rf"address.* / {1 << RECORDS['OBJECT_SHIFT']}\b", meaning)
    assert ">> OBJECT_SHIFT" in function("number_of", "take.h")


def test_windows_of_rate_limits_have_a_length_that_is_a_power_of_two():
    assert 1 << RECORDS["LIMIT_WINDOW_SHIFT"] == 2**27
    assert ">> LIMIT_WINDOW_SHIFT" in function("used_of", "take.h")


# ---- splice.h ------------------------------------------------------------------


def test_every_constant_of_the_programs_is_given():
    plan = SimpleNamespace(
        points=(CATALOGUE[0].name,), mode="capture", selected=False, outgoing=True, incoming=True,
        sample=1, budgeted=False, limit=0, by_flow=False,
    )  # fmt: skip
    maps = {name: SimpleNamespace(fd=3, entries=8) for name in ("states", "slots", "rings")}
    given = constants.program_constants(CATALOGUE[0], 1, [Rule(0, plan, 1)])
    given |= constants.map_constants(SimpleNamespace(maps=maps))
    assert given.keys() == defines.splice_constants().keys()


def test_numbers_of_constants_are_different():
    numbers = defines.splice_constants()
    assert len(set(numbers.values())) == len(numbers) == len(re.findall(r"CONSTANT\(\w+\)", code("splice.h"))) - 1


def load(number: int, mark: int) -> bytes:
    """Return a load of 64 bits into register 1."""
    return np.array([(0x18, 1, 0, number), (0, 0, 0, mark)], splice._INSTRUCTION).tobytes()


@pytest.mark.parametrize("name", defines.splice_constants())
def test_a_constant_is_filled_in_by_its_name(name):
    number, mark = defines.splice_constants()[name], defines.defines("splice.h")["CONSTANT_MARK"]
    filled = np.frombuffer(splice.splice(load(number, mark), {name: 7 << 32 | 5}), splice._INSTRUCTION)
    assert filled["immediate"].tolist() == [5, 7]
    assert (filled["registers"][0] == 1 | 2 << 4) == (name == "STATE_ADDRESS")


def test_other_loads_stay_as_they_are():
    program = load(5, 6)
    assert splice.splice(program, {"EPOCH": 1}) == program


def test_an_unknown_or_missing_constant_is_an_error():
    with pytest.raises(KeyError, match="EPOK"):
        splice.splice(b"", {"EPOK": 1})
    with pytest.raises(KeyError):
        splice.splice(load(0, defines.defines("splice.h")["CONSTANT_MARK"]), {"SLOTS": 1})


# ---- other files ---------------------------------------------------------------


def test_filters_read_the_window_that_the_programs_read():
    assert defines.defines("packet.h")["WINDOW"] == translate.WINDOW_BYTES
    words = re.findall(r"v->words\[(\d)\] = from", function("view_read", "packet.h"))
    assert 8 * len(words) == translate.WINDOW_BYTES


def test_addresses_are_hashed_as_the_programs_hash_them():
    numbers = [int(number, 16) for number in re.findall(r"0x([0-9a-f]{16})ULL", function("mix", "packet.h"))]
    first, second, third = numbers

    def mix(a, b):
        m = (a ^ first) * second % 2**64
        m ^= m >> 32
        m = (m ^ b) * third % 2**64
        return (m ^ m >> 32) % 2**32

    for a, b in ((0, 0), (1, 2), (0xFFFFFFFF, 0x12345678), (77, 0xFFFFFFFF)):
        assert addresses.mix(a, b) == mix(a, b)


def test_a_probe_has_as_many_fields_as_its_record():
    assert defines.defines("probes.h")["FIELDS"] == MAX_FIELDS
    assert list(fields("probe_record", "probes.h")) == ["hop", "values"]


def test_rules_and_points_fit_the_records():
    assert programs.RULES == MAX_RULES <= 8 * _BYTES[fields("hop")["rules"]]
    assert MAX_RULES & (MAX_RULES - 1) == 0, "programs mask the number of a rule"
    assert MAX_RULES <= translate.SLOTS
    assert max(point.id for point in CATALOGUE) < FIRST_PROBE and RECORDS["POINT_TRACE_GAP"] > programs.POINTS


@pytest.mark.parametrize(
    "number", [programs.PASSAGES, programs.cells_per_cpu(1), programs.cells_per_cpu(96), RECORDS["WAKINGS"]]
)
def test_sizes_of_maps_that_are_masked_are_powers_of_two(number):
    assert number & (number - 1) == 0


def test_every_port_has_an_element_among_the_readers():
    assert re.search(r"BPF_ARRAY\(readers, u64, 65536\)", code("points.c"))


@pytest.mark.parametrize("file", sorted(path.name for path in BPF.glob("*.[ch]")))
def test_the_readme_lists_every_file(file):
    assert f"| `{file}` |" in (BPF / "README.md").read_text()


def test_the_readme_lists_no_other_file():
    listed = re.findall(r"^\| `(\w+\.[ch])` \|", (BPF / "README.md").read_text(), re.MULTILINE)
    assert {file for file in listed if not (BPF / file).exists()} == set()
