"""Custom probes, as far as they can be tested without a kernel: descriptions, cells, messages, tables."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import cmonlab as cm
from cmonlab.data.analysis.names import Names
from cmonlab.data.analysis.probes import table
from cmonlab.data.store import probe_values
from cmonlab.errors import NotTraceable, ProbeError
from cmonlab.points.catalogue import FIRST_PROBE, Point
from cmonlab.points.probe import TYPES
from cmonlab.schema import columns
from cmonlab.tracing import preflight
from cmonlab.tracing.kernel.probes import error_lines, source
from cmonlab.widgets import magic

GOOD = {"name": "mine", "at": "tcp_probe", "socket": 0, "fields": {"a": "u32"}, "body": "out->a = 1;"}


def test_probe_description_makes_the_same_probe():
    probe = cm.Probe(**GOOD, reads="tcp_sock.snd_cwnd")
    assert (probe.place, probe.argument, probe.reads) == ("tcp_probe", 0, ("tcp_sock.snd_cwnd",))
    described = probe.describe()
    assert (
        described["fields"] == {"a": "u32"}
        and described["body"] == GOOD["body"]
        and described["reads"] == ["tcp_sock.snd_cwnd"]
    )
    assert cm.Probe(**{k: v for k, v in described.items() if k != "_"}) == probe


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "1st"}, "C identifier"),
        ({"name": "while"}, "C identifier"),
        ({"name": "a-b"}, "C identifier"),
        ({"name": "x" * 33}, "C identifier"),
        ({"name": "all"}, "C identifier"),
        ({"name": 'x"; evil'}, "C identifier"),
        ({"at": ""}, "have one place"),
        ({"function": "ip_rcv"}, "have one place"),
        ({"at": "no such place"}, "not the name of a tracepoint"),
        ({"at": 'x"\n#include "/etc/passwd"'}, "not the name of a tracepoint"),
        ({"socket": None}, "a packet or a socket"),
        ({"packet": 1}, "a packet or a socket"),
        ({"socket": -1}, "not the number of an argument"),
        ({"socket": "0"}, "not the number of an argument"),
        ({"fields": {f"f{n}": "u8" for n in range(9)}}, "at most 8"),
        ({"fields": {"a": "int"}}, "is not a type"),
        ({"fields": {"int": "u8"}}, "C identifier"),
        ({"fields": {"journey": "u8"}}, "column of that name"),
        ({"reads": ["tcp_sock"]}, "not a member of a struct"),
        ({"reads": ["tcp_sock->snd_cwnd"]}, "not a member of a struct"),
        ({"body": "if (1) {\n"}, "line 1: this { is never closed"),
        ({"body": "int x;\n}\nint y() {"}, "line 2: this } closes"),
        ({"body": "int x;\n\n/* no end"}, "line 3: this comment never ends"),
        ({"body": "}", "first_line": 2}, "line 2: this }"),
        ({"body": "int x;\nu8 t[2] = {1, 2};"}, "line 2: values in braces"),
        ({"body": "struct a b =\n{};"}, "line 2: values in braces"),
        ({"body": "/* \n */ b = (struct a){1};"}, "line 2: values in braces"),
    ],
)
def test_wrong_probe_is_refused_when_it_is_made(changes, words):
    with pytest.raises(ProbeError) as caught:
        cm.Probe(**GOOD | changes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "if (a == 1) { out->a = 1; } else { out->a = 2; }",
        "while (a >= 1) { }",
        "out->a = ({ int b = 1; b; });",
        "// u8 t[2] = {1, 2};",
        'char *x = "}"; (void)x;',
        "char x = '}'; (void)x;",
        "// }\n",
        "/* } /* */ ;",
        "{ { } }",
        r'char *x = "\"}"; (void)x;',
    ],
)
def test_braces_in_text_and_comments_are_ignored(body):
    assert cm.Probe(**GOOD | {"body": body}).body == body


# ---- the cell ------------------------------------------------------------------


class Shell:
    """What `register` needs of an IPython shell."""

    def __init__(self):
        self.namespace, self.magics = {}, {}

    def push(self, names):
        self.namespace |= names

    def register_magic_function(self, function, magic_kind, magic_name):
        assert magic_kind == "cell"
        self.magics[magic_name] = function


LINE = "cwnd at=tcp_probe socket=0 fields=snd_cwnd:u32,inflight:u32 reads=tcp_sock.snd_cwnd,tcp_sock.packets_out"


def test_notebook_cell_becomes_a_probe(monkeypatch, capsys):
    shell, seen = Shell(), []
    cm.load_ipython_extension(shell)
    monkeypatch.setattr(preflight, "require", lambda: None)
    monkeypatch.setattr(preflight, "check_probe", seen.append)
    for body in ("out->snd_cwnd = 1;\n", "out->snd_cwnd = 2;\n"):  # run, changed, and run again
        shell.magics["point"](LINE, body)
        made = shell.namespace["cwnd"]
        assert made == seen[-1] and made.body == body and made.first_line == 2
    assert made.fields == {"snd_cwnd": "u32", "inflight": "u32"} and made.socket == 0 and made.packet is None
    assert made.reads == ("tcp_sock.snd_cwnd", "tcp_sock.packets_out")
    assert "probes=[cwnd]" in capsys.readouterr().out


def test_cell_that_does_not_compile_defines_no_name(monkeypatch):
    shell = Shell()
    magic.register(shell)

    def refuse(probe):
        raise ProbeError("does not compile")

    monkeypatch.setattr(preflight, "require", lambda: None)
    monkeypatch.setattr(preflight, "check_probe", refuse)
    with pytest.raises(ProbeError):
        shell.magics["point"](LINE, "oops")
    assert shell.namespace == {}


def test_cell_says_that_the_host_cannot_trace(monkeypatch, capsys):
    def none():
        raise NotTraceable("loading eBPF programs needs root")

    shell = Shell()
    magic.register(shell)
    monkeypatch.setattr(preflight, "require", none)
    shell.magics["point"](LINE, "oops;")
    assert "not checked, as this host cannot trace: loading eBPF programs needs root" in capsys.readouterr().out
    assert shell.namespace["cwnd"].body == "oops;"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "needs a name"),
        ("x at=tcp_probe socket=0 nonsense", "'nonsense' is not understood"),
        ("x at=tcp_probe body=1 socket=0", "'body=1' is not understood"),
        ("x at=tcp_probe at=tcp_probe socket=0", "is not understood"),
        ("x at=tcp_probe socket=first", "socket=first"),
        ("x at=tcp_probe socket=0 fields=a", "field 'a' has no type"),
        ('x at="tcp_probe socket=0', "quotation"),
        ("x socket=0", "have one place"),
    ],
)
def test_wrong_first_line_of_a_cell_is_refused(line, words):
    with pytest.raises(ProbeError) as caught:
        magic.probe_of(line, "")
    assert words in str(caught.value)


# ---- C, and what the compiler says of it ----------------------------------------


def _point(probe, number=FIRST_PROBE):
    return Point(number, probe.name, probe.name, "note", "", packet=-1 if probe.packet is None else probe.packet)


def test_lines_of_probe_code_keep_their_numbers():
    probe = cm.Probe(**GOOD | {"body": "one;\ntwo;", "first_line": 2})
    text = source([probe], [_point(probe)]).splitlines()
    at = text.index("one;")
    assert text[at - 1] == '#line 2 "probe mine"' and text[at + 1] == "two;" and text[at + 2].startswith("#line")
    assert "SOCKET_PROBE(mine, 64, 0)" in text


@pytest.mark.parametrize(
    ("place", "how"),
    [
        ("netif_receive_skb", "PLACE_RX"),
        ("netif_rx_entry", "PLACE_RX"),
        ("napi_gro_frags_entry", "PLACE_RX"),
        ("net_dev_queue", "PLACE_TX"),
        ("consume_skb", "PLACE_TX"),
    ],
)
def test_place_of_the_header_depends_on_the_tracepoint(place, how):
    probe = cm.Probe("mine", at=place, packet=0)
    assert f"PACKET_PROBE(mine, 64, 0, {how})" in source([probe], [_point(probe)])


SAID = """\
In file included from /virtual/main.c:14:
points.c:3:1: warning: something of ours
int x;
^
probe mine:2:5: error: use of undeclared identifier 'b'
out->b;
     ^
take.h:9:1: note: expanded from macro 'READ'
#define READ
        ^
probe mine:2:5: error: use of undeclared identifier 'b'
out->b;
     ^
probe mine:7:1: warning: unused
int y;
^
probe mine (made):9:1: error: not theirs
2 errors generated.
"""


def test_error_lines_have_each_error_of_the_probe_once():
    probe = cm.Probe(**GOOD)
    assert error_lines(SAID, [probe]) == [
        "probe mine:2:5: error: use of undeclared identifier 'b'",
        "out->b;",
        "     ^",
    ]
    assert error_lines(SAID, [dataclasses.replace(probe, name="other")]) == []


# ---- the table -------------------------------------------------------------------


class Found:
    """Two journeys, of events 0, 2 and 3, 4."""

    event, start = np.array([0, 2, 3, 4]), np.array([0, 2, 4])
    length = np.diff(start)

    def __len__(self):
        return 2


NOBODY = Names(pd.DataFrame(columns=columns("links")), {}, {})


def _events():
    count = 6
    return {
        "ts_ns": np.array([10, 20, 20, 20, 30, 40]), "cpu": np.array([0, 1, 0, 0, 0, 0], np.uint16),
        "skb": np.array([5, 6, 5, 5, 7, 8], np.uint32), "point": np.array([3, 64, 64, 64, 3, 65], np.uint8),
        "saddr": np.full(count, 1, np.uint32), "daddr": np.full(count, 2, np.uint32),
        "sport": np.arange(count, dtype=np.uint16), "dport": np.full(count, 80, np.uint16),
        "shape": np.zeros(count, np.uint8),
    }  # fmt: skip


def _records(*rows):
    hop = np.dtype([("ts_ns", "u8"), ("point", "u1"), ("skb", "u4")])
    records = np.zeros(len(rows), np.dtype([("hop", hop), ("values", "u8", 8)]))
    for record, (ts_ns, point, skb, *values) in zip(records, rows, strict=True):
        record["hop"] = (ts_ns, point, skb)
        record["values"][: len(values)] = np.array(values, np.int64).view(np.uint64)
    return records


def test_probe_values_are_joined_to_their_own_hop():
    """Three hops in one nanosecond, two of them of one buffer on one CPU; and a hop without values."""
    chunks = [
        (1, _records((20, 64, 6, -1, 300))),
        (0, _records((40, 65, 8, 9), (20, 64, 5, -2, 301), (20, 64, 5, -3, 302))),
    ]
    made = probe_values.columns_of(chunks)
    assert [made[name].dtype for name in probe_values.DTYPES] == [
        np.dtype(kind) for kind in probe_values.DTYPES.values()
    ]
    found = table(_events(), Found(), NOBODY, made, {"id": 64, "fields": {"s": "s8", "u": "u16"}})
    assert found.columns.tolist() == ["ts_ns", "cpu", "journey", "direction", "sport", "dport", "s", "u"]
    assert found["sport"].tolist() == [1, 2, 3]
    assert found["journey"].tolist() == [-1, 0, 1]
    assert found["s"].tolist() == [-1, -2, -3] and found["u"].tolist() == [300, 301, 302]
    assert set(found["direction"]) == {"1.0.0.0 → 2.0.0.0"} and str(found["s"].dtype) == "int8"
    fewer = {name: values[:1] for name, values in made.items()}
    assert table(_events(), Found(), NOBODY, fewer, {"id": 64, "fields": {"s": "s8"}})["sport"].tolist() == [1]


@pytest.mark.parametrize("kind", TYPES)
def test_values_of_every_type_are_read_back(kind):
    limits = np.iinfo(TYPES[kind])
    words = np.zeros(2, "u8")
    for at, value in enumerate((limits.min, limits.max)):
        words[at : at + 1].view(TYPES[kind])[0] = value
    records = _records((20, 64, 6), (40, 64, 5))
    records["values"][:, 2] = words
    events = _events() | {"point": np.array([3, 64, 3, 3, 3, 64], np.uint8), "cpu": np.zeros(6, np.uint16)}
    events["skb"][5] = 5
    fields = {"x": "u8", "y": "u8", "z": kind}
    found = table(events, Found(), NOBODY, probe_values.columns_of([(0, records)]), {"id": 64, "fields": fields})
    assert found["z"].tolist() == [limits.min, limits.max]


def test_probe_without_values_has_an_empty_table():
    made = probe_values.columns_of([])
    found = table(_events(), Found(), NOBODY, made, {"id": 66, "fields": {"a": "u32"}})
    assert isinstance(found, pd.DataFrame) and len(found) == 0 and found["a"].dtype == np.uint32


def test_damaged_file_of_probe_values_is_refused(tmp_path):
    path = tmp_path / probe_values.PROBE_VALUES
    pd.DataFrame({"ts_ns": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match="lacks the columns"):
        probe_values.load_probe_values(path)
