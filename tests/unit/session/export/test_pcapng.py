"""Packets exported from a session: read back by scapy and by tshark, they are what was recorded."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from pcapng import FileScanner, blocks
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.utils import PcapNgReader

from cmonlab.data.analysis.names import Names
from cmonlab.data.tables.manifest import Manifest
from cmonlab.errors import ExportError, UnknownName
from cmonlab.session.export.headers import Header, Headers
from cmonlab.session.export.pcapng import pcapng
from cmonlab.session.session import Session
from tests.support.events import A0, A1, bulk, manifest

OFFSET_NS = 1_795_385_248_167_200_778


def manifest_with_clock(**changes):
    return manifest() | {"clock": {"realtime_offset_ns": OFFSET_NS, "realtime_offset_error_ns": 45}} | changes


@pytest.fixture(scope="module")
def session():
    """A session of synthetic packets, UDP and TCP."""
    return Session(bulk(200), manifest_with_clock())


@pytest.fixture(scope="module")
def headers():
    """Builds headers; one IPv6 address is known, by the key 7."""
    names = Manifest(manifest()).names
    return Headers(Names(names.links, {7: bytes(range(16))}, {}))


def packets(path):
    with PcapNgReader(str(path)) as reader:
        return list(reader)


def described(path, kind):
    with open(path, "rb") as file:
        return [block for block in FileScanner(file) if isinstance(block, kind)]


def test_scapy_reads_each_journey_as_the_recorded_packet(session, tmp_path):
    found, columns = session.correlated, session.columns
    read = packets(pcapng(session, tmp_path / "all.pcapng"))
    order = np.argsort(columns["ts_ns"][found.first_tx], kind="stable")
    event = found.first_tx[order]
    assert len(read) == len(session.journeys()) == 200
    protocols = set()
    for packet, at, journey in zip(read, event.tolist(), order.tolist(), strict=True):
        layer = packet[TCP] if columns["proto"][at] == 6 else packet[UDP]
        protocols.add(type(layer).__name__)
        assert (packet[IP].src, packet[IP].dst) == ("10.77.0.11", "10.77.0.10")
        assert (packet[IP].id, packet[IP].len) == (columns["ident"][at], columns["len_bytes"][at])
        assert (layer.sport, layer.dport) == (columns["sport"][at], columns["dport"][at])
        assert packet.wirelen == columns["len_bytes"][at]
        assert packet.comments[0].decode().startswith(f"journey {journey}, c1 → c0: ")
        if layer.name == "TCP":
            assert (layer.seq, int(layer.flags)) == (columns["seq"][at], columns["tcp_flags"][at])
    assert protocols == {"TCP", "UDP"}


def test_times_are_wall_clock_to_the_nanosecond(session, tmp_path):
    path = pcapng(session, tmp_path / "all.pcapng")
    event = np.sort(session.columns["ts_ns"][session.correlated.first_tx])
    read = [b.timestamp_high << 32 | b.timestamp_low for b in described(path, blocks.EnhancedPacket)]
    assert read == (event + OFFSET_NS).tolist()
    assert {b.timestamp_resolution for b in described(path, blocks.InterfaceDescription)} == {1e-9}
    comments = " ".join(described(path, blocks.SectionHeader)[0].options.get_all("opt_comment"))
    assert f"CLOCK_MONOTONIC + {OFFSET_NS} ns" in comments and "0 lost events" in comments


def test_times_without_an_offset_are_since_boot_and_the_file_says_so(tmp_path):
    session = Session(bulk(20), manifest())
    path = pcapng(session, tmp_path / "all.pcapng")
    first = described(path, blocks.EnhancedPacket)[0]
    assert first.timestamp_high << 32 | first.timestamp_low == session.events["ts_ns"].min()
    comments = " ".join(described(path, blocks.SectionHeader)[0].options.get_all("opt_comment"))
    assert "CLOCK_MONOTONIC, since boot" in comments


def test_comment_has_hops_delay_and_slowest_segment(session, tmp_path):
    path = pcapng(session, tmp_path / "one.pcapng", journeys=[17])
    lines = packets(path)[0].comments[0].decode().splitlines()
    row, hops = session.journeys().iloc[17], session.hops(17)
    slow = hops.loc[hops["segment_ns"].idxmax()]
    assert lines[0] == f"journey 17, c1 → c0: {row.outcome}, one-way delay {row.one_way_delay_ns / 1e3:.3f} µs"
    assert lines[1] == f"slowest segment: {slow.segment}, {slow.segment_ns / 1e3:.3f} µs ({slow.kind})"
    assert lines[2:] == [f"+{hop.offset_ns / 1e3:.3f} µs {hop.hop}" for hop in hops.itertuples()]


def test_hops_are_packets_on_their_interfaces(session, tmp_path):
    path = pcapng(session, tmp_path / "hops.pcapng", journeys=[3, 4], packets="hops")
    read, found = packets(path), session.correlated
    assert len(read) == found.length[3] + found.length[4]
    mine = [packet for packet in read if packet.comments[0].startswith(b"journey 3,")]
    way = found.event[found.start[3] : found.start[4]]
    assert [packet.sniffed_on for packet in mine] == session.events["place"].iloc[way].tolist()
    # Events of sockets have no header; they get that of the packet.
    assert {(packet[IP].src, packet[IP].id) for packet in mine} == {("10.77.0.11", 3)}
    assert f"hop {len(way)} of {len(way)}: " in mine[-1].comments[0].decode()
    first = described(path, blocks.InterfaceDescription)[0].options
    assert (first["if_name"], first["if_description"]) == ("c1:eth0", "veth eth0 of c1, MTU 1500")


def test_headers_of_ipv6_and_fragments_are_read_by_scapy(headers):
    ping = IPv6(headers.of(Header(7, 9, 321, 128 << 8, 58, 0, 104, 12 << 3 | 1), 5, 0))
    assert (ping.src, ping.dst, ping.plen) == ("1:203:405:607:809:a0b:c0d:e0f", "::", 64)
    assert (ping[ICMPv6EchoRequest].id, ping[ICMPv6EchoRequest].seq) == (321, 5)
    later = IPv6(headers.of(Header(7, 7, 0, 0, 17, 0, 1000, 10 << 3 | 5), 185, 0))
    assert (later[IPv6ExtHdrFragment].offset, later[IPv6ExtHdrFragment].nh) == (185, 17)
    later = IP(headers.of(Header(A1, A0, 0, 0, 17, 0, 1000, 5 << 3 | 4), 185, 77))
    assert (later.frag, later.id, later.len) == (185, 77, 1000) and UDP not in later


def test_ipv4_header_has_its_checksum(headers):
    packet = headers.of(Header(A1, A0, 1, 2, 6, 16, 1500, 13 << 3), 99, 4321)
    again = IP(packet)
    del again.chksum
    assert bytes(again)[:20] == packet[:20]
    assert IP(packet)[TCP].dataofs == 8 and len(packet) == 40
    assert len(headers.of(Header(A1, A0, 1, 2, 6, 16, 1500, 10 << 3), 99, 4321)) == 36  # no options: up to the window


def test_packets_longer_than_16_bits_have_length_zero(headers):
    assert IP(headers.of(Header(A1, A0, 1, 2, 6, 16, 100_000, 13 << 3), 0, 0)).len == 0


def test_impossible_export_is_refused_and_leaves_no_file(session, tmp_path):
    with pytest.raises(UnknownName, match="0 to 199"):
        pcapng(session, tmp_path / "x.pcapng", journeys=[200])
    with pytest.raises(UnknownName, match="did you mean 'hops'"):
        pcapng(session, tmp_path / "x.pcapng", packets="hop")
    with pytest.raises(ExportError, match="no journey"):
        pcapng(Session(bulk(0), manifest()), tmp_path / "x.pcapng")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [13, 10], ids=["with options", "without"])
@pytest.mark.skipif(not shutil.which("tshark"), reason="optional: no tshark: use `make setup`")
def test_wireshark_shows_truncated_packets_and_finds_no_errors(tmp_path, words):
    columns = bulk(200)
    columns["shape"] = np.where(columns["shape"] == 13 << 3, words << 3, columns["shape"]).astype(np.uint8)
    session = Session(columns, manifest_with_clock(clock={}))
    path = pcapng(session, tmp_path / "all.pcapng")
    fields = ["frame.len", "frame.cap_len", "frame.interface_name", "ip.src", "tcp.seq_raw", "udp.dstport"]
    command = ["tshark", "-r", str(path), "-T", "json", *(word for field in fields for word in ("-e", field))]
    rows = [row["_source"]["layers"] for row in json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL))]
    assert len(rows) == 200
    assert {row["frame.interface_name"][0] for row in rows} == {"c1:eth0"}
    assert all(int(row["frame.cap_len"][0]) < int(row["frame.len"][0]) for row in rows)
    tcp = session.journeys()["proto"] == "tcp"
    assert sum("tcp.seq_raw" in row for row in rows) == tcp.sum() > 0
    wrong = "_ws.malformed || tcp.analysis.flags || ip.checksum.status == 0 || udp.checksum.status == 0"
    complaints = subprocess.check_output(["tshark", "-r", str(path), "-Y", wrong], stderr=subprocess.DEVNULL, text=True)
    assert complaints == ""
