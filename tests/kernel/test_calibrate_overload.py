"""Lost events are counted, the remaining data are correct, and the checks can fail."""

import pytest

from cmonlab.study.calibrate.groups import overload
from cmonlab.study.testbed.traffic import exchange_udp, free_port, recording


@pytest.mark.parametrize("name", list(overload.scenarios(None, True)))
def test_lost_events_are_counted_and_remaining_data_are_correct(lab, name):
    checks = overload.scenarios(lab, quick=True)[name]()
    assert checks
    assert not [check.describe() for check in checks if not check.passed]
    assert {check.group for check in checks} == {"overload"}


def test_checks_fail_with_wrong_counts_and_without_lost_events(lab):
    port, count = free_port(), 200
    with recording(lab, f"udp port {port}") as done:
        exchange_udp(lab, port, 40, count=count)
    session = done.session
    values = [*overload._accounted(session, count + 1), *overload._said(session, room=10)]
    failed = {name for name, truth, measured, *_ in values if truth != measured}
    assert failed >= {f"{point}, recorded and lost" for point in overload.PASSES}
    assert failed >= {"events were lost at all", "events beyond the rings' room"}
    values = list(overload._true(session, count // 2))  # as if only half of them had been sent
    failed = {name for name, truth, measured, *_ in values if truth != measured}
    assert "journeys of packets that were not sent" in failed
    session.manifest["ledger"][0]["seen"] += 1
    values = list(overload._accounted(session, count))
    assert next(measured for name, _, measured, *_ in values if name == "points that do not balance") == 1
