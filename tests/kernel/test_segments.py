"""TCP segments, against what tcpdump wrote on the same interface."""

import array
import collections
import fcntl
import signal
import socket
import struct
import subprocess
import time

import pytest

from cmonlab.study.testbed.traffic import free_port, new_bytes, recording, send_tcp
from cmonlab.tracing.kernel.programs import available

SIZE = 6_000_003


def reads_have_no_tracepoint():
    return all(point.stage != "read" for point in available())


def captured(path):
    """Return (source port, destination port, sequence, length of the IP packet) of each packet in a pcap file."""
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.utils import rdpcap

    def length(packet):
        return packet[IP].len if IP in packet else packet[IPv6].plen + 40

    return collections.Counter(
        (packet[TCP].sport, packet[TCP].dport, packet[TCP].seq, length(packet))
        for packet in rdpcap(str(path))
        if TCP in packet
    )


class Tcpdump:
    """tcpdump in the sender's namespace; captures when entered, has written all when left."""

    def __init__(self, lab, port, path):
        words = f"tcpdump -i eth0 -Z root -B 65536 -s 128 --immediate-mode tcp port {port} -w"
        self._process = subprocess.Popen(lab.argv("c1", *words.split(), str(path)), stderr=subprocess.PIPE, text=True)
        self.report = ""

    def __enter__(self):
        while "listening on" not in (line := self._process.stderr.readline()):
            assert line, "tcpdump ended before it captured"
        return self

    def __exit__(self, *_exc):
        time.sleep(0.1)  # tcpdump reads in rounds, and does not say when it has caught up
        self._process.send_signal(signal.SIGINT)
        self.report = self._process.communicate(timeout=20)[1]


@pytest.mark.parametrize(("version", "large"), [(4, True), (6, True), (4, False)])
def test_segments_are_those_that_tcpdump_saw(lab, tmp_path, version, large):
    """The same segments, none more and none less, and every byte sent was delivered."""
    port, path = free_port(), tmp_path / "sender.pcap"
    for name in ("c0", "c1"):
        lab.run(name, "ip", "link", "set", "eth0", "gso_max_segs", "65535" if large else "1")
    try:
        with recording(lab, f"tcp port {port}") as done, Tcpdump(lab, port, path) as tcpdump:
            send_tcp(lab, port, SIZE, version)
    finally:
        for name in ("c0", "c1"):
            lab.run(name, "ip", "link", "set", "eth0", "gso_max_segs", "65535")
    assert "0 packets dropped by kernel" in tcpdump.report
    session = done.session
    assert session.lost_events == 0
    journeys = session.journeys()
    seen = collections.Counter(
        zip(*(journeys[name].astype(int) for name in ("sport", "dport", "seq", "len_bytes")), strict=True)
    )
    assert seen == captured(path)
    forth = journeys[journeys["direction"] == "c1 → c0"]
    segments = forth[forth["payload_bytes"] > 0]
    assert new_bytes(segments) == (SIZE, True)
    assert (segments["gso_segs"].max() > 1) == large
    ended = journeys["outcome"].isin(["delivered", "arrived"]) | (journeys["drop_reason"] != "")
    assert ended.all()
    assert (journeys["complete"] | (journeys["outcome"] == "dropped")).all()
    delivered = segments[segments["outcome"] == "delivered"]
    assert (delivered["hops"] == 9).all()


GRO, TSO = 0x2C, 0x1F  # ETHTOOL_SGRO, ETHTOOL_STSO (uapi/linux/ethtool.h)


def offload(lab, name, interface, feature, on):
    """Switch an offload of an interface, as ethtool does."""

    def ask():
        command = array.array("I", [feature, on])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            request = struct.pack("16sP", interface.encode(), command.buffer_info()[0]) + bytes(16)
            fcntl.ioctl(sock, 0x8946, request)  # SIOCETHTOOL

    lab.call(name, ask)


@pytest.mark.parametrize("software_gso", [False, True])
def test_gro_merges_segments(lab, software_gso):
    """Where the receiver's device merges segments, each is delivered by the copy that holds its last byte.

    Where the sender's device does not segment, the kernel does on the way to it: the
    large packet is split there, and the journeys of its parts begin.
    """
    port, size = free_port(), 300_000
    switches = (("c0", "eth0", GRO, 1), ("host", "veth0", TSO, 0), ("c1", "eth0", TSO, 0))
    lab.run("c1", "ip", "link", "set", "eth0", "gso_max_segs", "65535" if software_gso else "1")
    for name, interface, feature, on in switches:
        offload(lab, name, interface, feature, on)
    try:
        with recording(lab, f"tcp port {port}") as done:
            send_tcp(lab, port, size)
    finally:
        for name, interface, feature, on in switches:
            offload(lab, name, interface, feature, 1 - on)
        lab.run("c1", "ip", "link", "set", "eth0", "gso_max_segs", "65535")
    events, journeys = done.session.events, done.session.journeys()
    assert (events["point"] == "napi_gro_receive_entry").any()
    segments = journeys[(journeys["direction"] == "c1 → c0") & (journeys["payload_bytes"] > 0)]
    large = segments["gso_segs"] > 1
    assert large.any() == software_gso
    assert (segments["outcome"][large] == "split").all()
    parts = segments["parent"].isin(segments["journey"][large])
    assert parts[~large].all() == software_gso
    segments, of_another = segments[~large], segments[~large & (segments["parent"] >= 0) & ~parts]
    assert segments["payload_bytes"].max() < 1500
    received = events[(events["point"] == "netif_receive_skb") & (events["place"] == "c0:eth0")]
    if software_gso:  # else each has passed, mostly, before the next comes
        assert received["len_bytes"].max() > 1500, "nothing was merged"
    # What was not cut from another was merged into it: that one came with the bytes of both.
    heads = segments.set_index("journey").loc[of_another["parent"]]
    came = heads["seq"].map(received.groupby("seq")["len_bytes"].max()).to_numpy(int)
    begin = (of_another["seq"].to_numpy(int) - heads["seq"].to_numpy(int)) % 2**32
    ends = begin + of_another["payload_bytes"].to_numpy(int) + 40  # and headers
    assert (begin > 0).all() and (ends <= came).all()
    assert new_bytes(segments) == (size, True)
    assert (segments["complete"] | (segments["outcome"] == "dropped")).all()


def test_copies_for_a_sniffer_are_no_deliveries(lab):
    """A capture tool that reads packets one by one copies them at the point that deliveries pass."""
    port, size = free_port(), 200_000

    def sniff(sock):
        seen = 0
        try:
            while True:
                seen += len(sock.recv(1 << 16)) > 0
        except TimeoutError:
            return seen

    def open_sniffer():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.bind(("eth0", 3))
        sock.settimeout(1)
        return sock

    with lab.call("c0", open_sniffer) as sniffer, recording(lab, f"tcp port {port}") as done:
        sniffing = lab.start("c0", sniff, sniffer)
        send_tcp(lab, port, size)
        assert sniffing.result(timeout=30) > 2
    journeys = done.session.journeys()
    segments = journeys[(journeys["direction"] == "c1 → c0") & (journeys["payload_bytes"] > 0)]
    assert new_bytes(segments) == (size, True)
    events = done.session.events
    if reads_have_no_tracepoint():
        copies = events[events["point"] == "skb_copy_datagram_iovec"]
        sniffed = copies["aux"] == copies["len_bytes"] + 14  # with the link header
        assert sniffed.any()
        hops = done.session.hops(segments["journey"].tolist())
        assert not copies["ts_ns"][sniffed].isin(hops["ts_ns"]).any()
    else:
        assert events.loc[events["point"] == "sock_recv_length", "aux"].sum() == size
