"""The group delay in quick form: every kind of scenario runs, and the testbed is as before."""

from cmonlab.study.calibrate.check import Unavailable
from cmonlab.study.calibrate.groups import delay

SCENARIOS = (
    "computed",
    "by packet sockets",
    "htb",
    "a reader 2 ms late",
    "a forwarder",
    "a starved reader",
    "nothing delayed",
)


def _state(lab):
    qdiscs = [lab.run(name, "tc", "qdisc", "show") for name in lab.namespaces]
    return qdiscs, [link["addresses"] for link in lab.links()]


def test_known_delays_pass_in_every_scenario(lab):
    before = _state(lab)
    found = list(delay.run(lab, quick=True))
    assert _state(lab) == before
    lacking = [one for one in found if isinstance(one, Unavailable)]
    checks = [check for one in found if one not in lacking for check in one]
    for words in SCENARIOS:
        assert any(words in check.name for check in checks), words
    assert any("netem" in one.name for one in (*lacking, *checks))
    compared = [check for check in checks if check.name.endswith("packets compared")]
    assert len(compared) >= len(SCENARIOS) and all(check.truth > 0 for check in compared)
    assert any(check.name.endswith("leaked into other segments") for check in checks)
    # Other work on the machine disturbs single packets; a median that is off is an error.
    wrong = [check for check in checks if check.name.endswith(("p50", "packets compared")) and not check.passed]
    assert not wrong, wrong
