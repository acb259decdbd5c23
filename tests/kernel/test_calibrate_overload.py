"""Lost events are counted, and what is left is true; by checks that can fail."""

import pytest

from cmonlab.study.calibrate.groups import overload
from cmonlab.study.testbed.traffic import exchange_udp, free_port, recording


@pytest.mark.parametrize("name", list(overload.scenarios(None, True)))
def test_every_lost_event_is_counted_and_what_is_left_is_true(lab, name):
    checks = overload.scenarios(lab, quick=True)[name]()
    assert checks
    assert not [check.describe() for check in checks if not check.passed]
    assert {check.group for check in checks} == {"overload"}


def test_checks_fail_where_events_are_missing_or_none_was_lost(lab):
    port, count = free_port(), 200
    with recording(lab, f"udp port {port}") as done:
        exchange_udp(lab, port, 40, count=count)
    session = done.session
    told = [*overload._accounted(session, count + 1), *overload._said(session, room=10)]
    failed = {name for name, truth, measured, *_ in told if truth != measured}
    assert failed >= {f"{point}, recorded and lost" for point in overload.PASSES}
    assert failed >= {"events were lost at all", "events beyond the rings' room"}
    told = list(overload._true(session, count // 2))  # as if the other half had been sent by nobody
    assert "journeys of packets that nobody sent" in {name for name, truth, measured, *_ in told if truth != measured}
    session.manifest["ledger"][0]["seen"] += 1
    told = list(overload._accounted(session, count))
    assert next(measured for name, _, measured, *_ in told if name == "points that do not balance") == 1
