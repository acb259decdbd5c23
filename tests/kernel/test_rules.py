"""Rules that start and end while packets flow."""

import itertools
import struct
import time
from types import SimpleNamespace

import numpy as np
import pytest

from cmonlab.errors import RuleError
from cmonlab.rules import MAX_RULES, Rule, compile_rules
from cmonlab.study.testbed import traffic
from cmonlab.study.testbed.traffic import ADDRESS, exchange_udp, free_port, recording, udp_socket
from cmonlab.tracing.kernel.addresses import address_key, mix
from cmonlab.tracing.kernel.programs import available
from cmonlab.tracing.members import Members
from cmonlab.tracing.tracer import Tracer

NAMES = [point.name for point in available()]


def plans(*rules):
    return compile_rules(rules, NAMES)


class Stream:
    """Numbered datagrams from c1 to c0, paced, until the block ends."""

    def __init__(self, lab, port):
        self.lab, self.port, self.sent, self.going = lab, port, 0, True

    def __enter__(self):
        self.receiver, self.sender = udp_socket(self.lab, "c0", self.port), udp_socket(self.lab, "c1")
        self.done = self.lab.start("c1", self._send)
        return self

    def _send(self):
        for number in itertools.count():
            if not self.going:
                return
            self.sender.sendto(number.to_bytes(8, "big"), (ADDRESS[4]["c0"], self.port))
            self.sent += 1
            time.sleep(0.0005)

    def __exit__(self, *_):
        self.going = False
        self.done.result(timeout=10)
        self.sender.close()
        self.receiver.close()


def hash_of_number(number):
    """Return the ``seq`` of events for a datagram of `Stream`."""
    low, high = struct.unpack("<II", number.to_bytes(8, "big"))
    return mix(low, high)


def wait_for(stream, more):
    end, deadline = stream.sent + more, time.monotonic() + 20
    while stream.sent < end:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_change_of_rules_loses_no_event_of_unchanged_rules(lab):
    port = free_port()
    stays = Rule(name="stays", match=f"udp port {port}", points="path")
    comes = Rule(name="comes", match=f"udp port {port}", points=["net_dev_queue", "netif_rx"])
    aggregate = Rule(name="sum", match="", mode="aggregate")
    with Tracer() as tracer, Stream(lab, port) as stream:
        tracer.start(plans(stays))
        took = []
        for change in ([stays, comes], [stays, aggregate], [stays], [stays, comes, aggregate], [stays]):
            wait_for(stream, 100)
            before = time.monotonic()
            tracer.apply(plans(*change))
            took.append(time.monotonic() - before)
        wait_for(stream, 100)
        recording = tracer.stop()
    traffic.trace_gap_ns.append(sum(end - start for _, start, end in recording.trace_gaps))
    events = np.concatenate([records for _, records in recording.chunks])
    slot = {rule.plan.name: rule.slot for rule in recording.rules}
    mine = events[events["rules"] >> slot["stays"] & 1 == 1]
    # Every datagram that was seen at the first hop was seen at all eight, whatever changed meanwhile.
    hops = {int(seq): 0 for seq in np.unique(mine["seq"])}
    for seq in mine["seq"].tolist():
        hops[seq] += 1
    whole = sorted(hops.values())
    assert len(hops) > 600
    numbers = [hash_of_number(number) for number in range(stream.sent)]
    seen = [number in hops for number in numbers]
    assert all(seen[seen.index(True) : len(seen) - seen[::-1].index(True)])  # none is missing in between
    assert whole[2:] == [8] * (len(whole) - 2)  # except for packets in flight at the beginning and the end
    assert set(np.unique(events["epoch"])) == {1, 2, 3, 4, 5, 6}
    comers = events[events["rules"] >> slot["comes"] & 1 == 1]
    epochs = {rule.plan.name: (rule.first, rule.last) for rule in recording.rules}
    assert epochs["stays"] == (1, 6)
    assert set(np.unique(comers["epoch"])) <= {2, 5}
    for ledger in recording.ledgers.values():
        for row in ledger.values():
            assert row["seen"] == sum(row.values()) - row["seen"]
    assert sum(row["lost"] for ledger in recording.ledgers.values() for row in ledger.values()) == 0
    print("seconds for a change:", [round(seconds, 3) for seconds in took])


def test_ledger_of_each_epoch_balances_with_its_events(lab):
    port = free_port()
    one, two = (Rule(name=name, match=f"udp port {port}", points="path") for name in ("one", "two"))
    with Tracer() as tracer, Stream(lab, port) as stream:
        tracer.start(plans(one))
        for rule in (two, one, two):
            wait_for(stream, 200)
            tracer.apply(plans(rule))
        wait_for(stream, 200)
        recording = tracer.stop()
    events = np.concatenate([records for _, records in recording.chunks])
    assert sorted(recording.ledgers) == [1, 2, 3, 4]
    for epoch, ledger in recording.ledgers.items():
        for point in tracer.points:
            if point.name in ledger:
                held = np.count_nonzero((events["epoch"] == epoch) & (events["point"] == point.id))
                assert ledger[point.name]["recorded"] == held


def test_at_most_sixteen_rules_are_active(lab):
    port = free_port()
    rules = [Rule(name=f"r{n}", match=f"udp port {port} or tcp port {n + 1}", points="path") for n in range(MAX_RULES)]
    with Tracer() as tracer:
        tracer.start(plans(*rules))
        exchange_udp(lab, port, 40, count=10)
        with pytest.raises(RuleError):
            tracer.apply([*plans(*rules[1:]), *plans(Rule(name="new", match="udp"), Rule(name="newer", match="tcp"))])
        recording = tracer.stop()
    traffic.trace_gap_ns.append(sum(end - start for _, start, end in recording.trace_gaps))
    events = np.concatenate([records for _, records in recording.chunks])
    assert len(events) == 80
    assert set(events["rules"].tolist()) == {2**MAX_RULES - 1}


def containers():
    return [
        SimpleNamespace(
            name=name, image="i", labels={}, networks=(), addresses=(ADDRESS[4][name], ADDRESS[6][name]), running=True
        )
        for name in ("c0", "c1")
    ]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("direction", "taken"), [("in", {"c1 → c0"}), ("out", {"c0 → c1"}), ("both", {"c0 → c1", "c1 → c0"})]
)
def test_rule_takes_packets_of_selected_containers_and_directions(lab, version, direction, taken):
    port = free_port()
    match = {"packets": f"udp port {port}", "containers": {"name": "c0"}, "direction": direction}
    with recording(lab, Rule(name="sel", match=match, points="path"), containers) as done:
        exchange_udp(lab, port, 40, version, count=50)
        sender, receiver = udp_socket(lab, "c0", 0, version), udp_socket(lab, "c1", port, version)
        exchange = {"receiver": receiver, "sender": sender}
        with receiver, sender:
            reading = lab.start("c1", lambda: [receiver.recv(100) for _ in range(50)])
            lab.call("c0", lambda: [sender.sendto(b"%08d" % n, (ADDRESS[version]["c1"], port)) for n in range(50)])
            assert len(reading.result(timeout=20)) == 50, exchange
    journeys = done.session.journeys()
    assert set(journeys["direction"]) == taken
    assert len(journeys) == 50 * len(taken)


def test_rule_follows_the_addresses_of_its_containers(lab):
    """A rule takes a container's packets from when its address is known, and no longer when it is not."""
    port, known = free_port(), []
    match = {"packets": f"udp port {port}", "containers": {"name": "c0"}}
    with recording(lab, Rule(name="sel", match=match, points="path"), lambda: known) as done:
        exchange_udp(lab, port, 40, count=20)
        known.extend(containers())
        done.capture.containers_changed()
        exchange_udp(lab, port, 40, count=30)
        known.clear()
        done.capture.containers_changed()
        exchange_udp(lab, port, 40, count=40)
    assert len(done.session.journeys()) == 30


def test_address_keys_agree_with_the_programs(lab):
    port = free_port()
    with recording(lab, f"udp port {port}", points=["net_dev_queue"]) as done:
        exchange_udp(lab, port, 40, 6, count=3)
        exchange_udp(lab, port, 40, 4, count=3)
    keys = set(done.session.events["saddr"].tolist())
    assert keys == {address_key(ADDRESS[version]["c1"]) for version in (4, 6)}


def test_members_update_only_changed_rules():
    updates, all_of_them = [], containers()
    members = Members(lambda: all_of_them)
    rules = [
        Rule(name="a", match={"packets": "", "containers": {"name": "c0"}}),
        Rule(name="b", match={"packets": "", "containers": {"name": "c*"}}),
        Rule(name="c", match=""),
    ]
    begun = members.begin(rules)
    assert set(begun) == {"a", "b"}
    assert {len(addresses) for addresses in begun.values()} == {2, 4}
    all_of_them.pop()  # c1
    members.follow(lambda name, addresses: updates.append((name, len(addresses))))
    assert updates == [("b", 2)]


def test_read_is_matched_by_its_connection(lab):
    """Reads of TCP have no packet: the rule is matched with a header like those of the flow's segments."""
    port, other = free_port(), free_port()
    with recording(lab, f"tcp and src host {ADDRESS[4]['c1']} and dst port {port}") as done:
        traffic.send_tcp(lab, port, 100_000)
        traffic.send_tcp(lab, other, 100_000)
    reads = done.session.events.query("point == 'sock_recv_length'")
    assert set(reads["dport"]) == {port}
    assert reads["aux"].sum() == 100_000


def test_connection_is_recorded_from_send_to_read(lab):
    port = free_port()
    with recording(lab, f"tcp port {port}", points=["all"]) as done:
        traffic.send_tcp(lab, port, 50_000)
    if "tcp_sendmsg_locked" not in NAMES:
        pytest.skip("optional: this kernel has no tracepoint where TCP is handed data (Linux 6.16)")
    journeys = done.session.journeys()
    data = journeys[(journeys["payload_bytes"] > 0) & (journeys["direction"] == "c1 → c0")]
    assert (data["outcome"] == "delivered").all()
    hops = done.session.hops(data["journey"].tolist())
    first = hops.groupby("journey")["hop"].first().astype(str)
    assert first.str.contains("send").all()
