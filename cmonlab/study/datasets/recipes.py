"""How each dataset was recorded. A dataset's card quotes its function, so the function must be complete in itself."""

from __future__ import annotations

import random
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import cmonlab as cm
from cmonlab.session.session import Session

Runs = dict[str, list[Session]]


@dataclass(frozen=True)
class Recipe:
    """One dataset.

    Attributes
    ----------
    what : str
        Its content, in a phrase.
    limits : str
        Limits of its validity.
    make : callable
        Records the sessions, on a machine that can trace and has a Docker engine.
    """

    what: str
    limits: str
    make: Callable[[], Runs]


def memcached_bridge() -> Runs:
    """Record one connection, so that each packet has the network to itself."""
    with cm.templates.bridge(containers=2).deploy() as lab:
        load = cm.Memcached(server="c0", client="c1", connections=1)
        return {"memcached": [cm.record(lab, load, rule="tcp port 11211", duration_s=1, overhead=True)]}


def network_modes() -> Runs:
    """Record the same load over four kinds of network, five times each, in random order within each round.

    The tracing overhead is measured before the first recording of each network.
    """
    rule = cm.Rule(name="memcached", match="tcp port 11211", points="path", sample="6%")
    load = cm.Memcached(server="c0", client="c1", connections=1)
    topologies = {
        "bridge": cm.templates.bridge(),
        "host": cm.templates.host(),
        "macvlan": cm.templates.macvlan(),
        "vxlan": cm.templates.vxlan(),
    }
    runs: Runs = {name: [] for name in topologies}
    with ExitStack() as stack:
        labs = {name: stack.enter_context(topology.deploy()) for name, topology in topologies.items()}
        for number in range(5):
            for name in random.sample(list(labs), len(labs)):
                runs[name].append(cm.record(labs[name], load, rule=rule, duration_s=1, overhead=number == 0))
    return runs


def memcached_tail() -> Runs:
    """Record thirty-two connections that keep one server busy, including waits for a CPU."""
    rule = cm.Rule(name="memcached", match="tcp port 11211", points=["default", "sched"], sample="5%")
    with cm.templates.bridge(containers=2).deploy() as lab:
        load = cm.Memcached(server="c0", client="c1", connections=32)
        return {"memcached": [cm.record(lab, load, rule=rule, duration_s=1, overhead=True)]}


def loss_places() -> Runs:
    """Record datagrams from c1 to c0 that are lost at three places."""
    with cm.templates.bridge(containers=2).deploy() as lab:
        # A queue of 15 kB in front of 40 Mbit/s, on the bridge's port to c0.
        port = socket.if_indextoname(int(lab.exec("c0", ["cat", "/sys/class/net/eth0/iflink"])[1]))
        subprocess.run(f"tc qdisc add dev {port} root tbf rate 40mbit burst 8k limit 15k".split(), check=True)
        # A firewall in c0 that drops every 50th datagram.
        inside = f"nsenter --net=/proc/{lab.containers['c0'].pid}/ns/net"
        each_50th = "-m statistic --mode nth --every 50 --packet 49 -j DROP"
        subprocess.run(f"{inside} iptables -A INPUT -p udp --dport 5201 {each_50th}".split(), check=True)
        # The server is stopped for 100 ms every now and then, so that its socket's buffer fills up.
        find = "$(busybox pidof iperf3)"
        nap = f"while :; do sleep 0.4; kill -STOP {find}; sleep 0.1; kill -CONT {find}; done"
        lab.start("c0", ["sh", "-c", nap], service="nap")
        load = cm.Iperf(server="c0", client="c1", protocol="udp", bitrate_bps=45_000_000)
        return {"iperf-udp": [cm.record(lab, load, duration_s=2)]}


def tracing_overhead() -> Runs:
    """Measure a ping-pong untraced and with four rules, interleaved; then record a session."""
    from cmonlab.recording.overhead import measure
    from cmonlab.recording.traced import Traced

    packets = "tcp port 11111"
    rules = {
        "capture": cm.Rule(name="capture", match=packets),
        "capture 10%": cm.Rule(name="capture-10", match=packets, sample="10%"),
        "aggregate": cm.Rule(name="aggregate", match=packets, mode="aggregate"),
        "count": cm.Rule(name="count", match=packets, mode="count"),
    }
    with cm.templates.bridge(containers=2).deploy() as lab:
        load = cm.Sockperf(server="c0", client="c1", protocol="tcp")
        cost = measure(lab, load, {name: Traced([rule]) for name, rule in rules.items()}, rounds=12)
        session = cm.record(lab, load, rule=rules["capture 10%"], duration_s=1)
    session.manifest["overhead"] = cost.describe()
    return {"sockperf-tcp": [session]}


def congestion_window() -> Runs:
    """Record a connection through a bottleneck, with a custom probe that records the congestion window."""
    window = cm.Probe(
        "window",
        at="tcp_probe",
        socket=0,
        fields={"snd_cwnd": "u32", "srtt_us": "u32"},
        reads=["tcp_sock.snd_cwnd", "tcp_sock.srtt_us"],
        body="""
            struct tcp_sock *tp = (struct tcp_sock *)sk;
            out->snd_cwnd = READ(tp->snd_cwnd);
            out->srtt_us = READ(tp->srtt_us) >> 3;
        """,
    )
    with cm.templates.bridge(containers=2).deploy() as lab:
        port = socket.if_indextoname(int(lab.exec("c0", ["cat", "/sys/class/net/eth0/iflink"])[1]))
        subprocess.run(f"tc qdisc add dev {port} root tbf rate 5mbit burst 5k limit 10k".split(), check=True)
        load = cm.Iperf(server="c0", client="c1", protocol="tcp")
        return {"iperf-tcp": [cm.record(lab, load, duration_s=4, probes=[window])]}


_ONE_MACHINE = (
    "One virtual machine with two processors and no other load; the load of its host is not known. Compare values "
    "within the dataset only."
)

RECIPES: dict[str, Recipe] = {
    "memcached-bridge": Recipe(
        "memcached and one connection of memcaslap on a bridge, every packet",
        f"One second. {_ONE_MACHINE}",
        memcached_bridge,
    ),
    "memcached-tail": Recipe(
        "memcached on a bridge with 32 connections, including waits for a CPU",
        f"One second, 5% of the packets: quantiles beyond the 99th depend on a few journeys. {_ONE_MACHINE}",
        memcached_tail,
    ),
    "network-modes": Recipe(
        "memcached over a bridge, the host's network, macvlan and a VXLAN overlay, five repetitions each",
        "One second each, 6% of the packets, one connection; journeys end at the arrival, because reads are not "
        "recorded. The two hosts of the overlay are namespaces of one machine, without a wire between them. "
        f"{_ONE_MACHINE}",
        network_modes,
    ),
    "loss-places": Recipe(
        "datagrams lost at a full queue, at a firewall and at a full socket",
        "Two seconds of iperf3 at 45 Mbit/s. Each place is set up to lose packets; their shares have no meaning.",
        loss_places,
    ),
    "observers": Recipe(
        "tracing overhead of a TCP ping-pong by mode, twelve rounds of each, and a session",
        f"Rounds of one second. {_ONE_MACHINE}",
        tracing_overhead,
    ),
    "congestion-window": Recipe(
        "iperf3 over TCP through 5 Mbit/s, with a custom probe that records the congestion window",
        "Four seconds, one connection. Segments leave in one buffer and are split on the path (GSO segmentation).",
        congestion_window,
    ),
}
