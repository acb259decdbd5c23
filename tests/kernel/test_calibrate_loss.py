"""Known losses are reported exactly, and the checks can fail."""

import json

import pytest

from cmonlab.errors import NotTraceable
from cmonlab.study.calibrate.check import Check
from cmonlab.study.calibrate.groups import loss, loss_udp
from cmonlab.study.testbed import dropper
from cmonlab.study.testbed.testbed import ip
from cmonlab.study.testbed.traffic import ADDRESS, free_port, send_udp, udp_socket

NAMES = list(loss.scenarios(None, True))


@pytest.mark.parametrize("name", NAMES)
def test_known_loss_is_reported_exactly(lab, name):
    checks = loss.scenarios(lab, quick=True)[name]()
    assert checks
    assert not [check.describe() for check in checks if not check.passed]
    assert {check.group for check in checks} == {"loss"}
    assert {check.tolerance for check in checks} == {0}


def test_checks_fail_with_another_place_reason_and_number(lab):
    """The same recording is checked against a wrong place, reason and number."""
    wrong = []

    def record(scenario, reason, session, *truth):
        wrong[:] = captured(loss_udp.SCENARIOS[1], "TC_EGRESS", session, truth[0], truth[1] + 1, *truth[2:])
        return captured(scenario, reason, session, *truth)

    captured = loss_udp._captured
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_udp, "_captured", record)
        loss.scenarios(lab, quick=True)["tc program at ingress"]()
    failed = {name for name, truth, measured in wrong if truth != measured}
    assert failed >= {"dropped", "dropped at host:veth0", "dropped for TC_EGRESS", "anything else reported as lost"}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ["program", "rule"])
def test_droppers_drop_and_count_every_nth_packet(lab, kind, version):
    port, other, count, every = free_port(), free_port(), 100, 7
    if kind == "program":
        dropping = dropper.classifier(lab, ("host", "veth1", "ingress"), port, every, version)
    else:
        dropping = dropper.nft_rule(lab, "host", port, every, version)
    receiver, sender = (udp_socket(lab, *end, version) for end in (("c0", port), ("c1", 0)))
    with receiver, sender, udp_socket(lab, "c0", other, version) as spared:
        with dropping as dropped:
            for to in (port, other):
                lab.call("c1", send_udp, sender, (ADDRESS[version]["c0"], to), 40, count)
            read = loss_udp.read_rest(receiver, count, dropped)
            assert dropped() == count // every
            assert sorted(set(range(count)) - read) == list(range(every - 1, count, every))
            assert len(loss_udp.read_rest(spared, count, lambda: 0)) == count
        lab.call("c1", send_udp, sender, (ADDRESS[version]["c0"], port), 40, count)
        assert len(loss_udp.read_rest(receiver, count, lambda: 0)) == count  # the dropper is removed


def test_queue_reports_what_the_kernel_lacks(lab):
    with pytest.raises(NotTraceable, match="tc"), dropper.queue(lab, "host", "veth0", "root cmonlabnosuch"):
        pass
    with pytest.raises(NotTraceable), dropper.queue(lab, "host", "veth0", "root handle 1: htb", "parent 1: nosuch"):
        pass
    found = json.loads(ip("-n", lab.namespaces["host"], "-j", "link", "show", "dev", "veth0"))
    assert found[0]["qdisc"] == "noqueue"


def test_run_yields_checks_or_why_a_scenario_is_unavailable(lab, monkeypatch):
    def refuse():
        raise NotTraceable("it cannot be made", why="no reason")

    check = Check("loss", "made up", 1, 1, "packets", 0)
    monkeypatch.setattr(loss, "scenarios", lambda bed, quick: {"one": lambda: [check], "two": refuse})
    one, two = loss.run(lab, quick=True)
    assert one == [check]
    assert (two.group, two.name, two.why) == ("loss", "two", "it cannot be made: no reason")
