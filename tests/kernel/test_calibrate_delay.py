"""The group delay, quick: every kind of scenario is made, and what was added to the testbed is gone again."""

from cmonlab.study.calibrate.check import Unavailable
from cmonlab.study.calibrate.groups import delay

SITUATIONS = (
    "computed",
    "by packet sockets",
    "htb",
    "a reader 2 ms late",
    "a forwarder",
    "a reader without a processor",
    "nothing delayed",
)


def _state(lab):
    told = [lab.run(name, "tc", "qdisc", "show") for name in lab.namespaces]
    return told, [link["addresses"] for link in lab.links()]


def test_known_delays(lab):
    before = _state(lab)
    found = list(delay.run(lab, quick=True))
    assert _state(lab) == before
    lacking = [one for one in found if isinstance(one, Unavailable)]
    checks = [check for one in found if one not in lacking for check in one]
    for words in SITUATIONS:
        assert any(words in check.name for check in checks), words
    assert any("netem" in one.name for one in (*lacking, *checks))
    compared = [check for check in checks if check.name.endswith("packets compared")]
    assert len(compared) >= len(SITUATIONS) and all(check.truth > 0 for check in compared)
    assert any(check.name.endswith("leaked into other segments") for check in checks)
    # Other work on the machine disturbs single packets; a median that is off is an error.
    wrong = [check for check in checks if check.name.endswith(("p50", "packets compared")) and not check.passed]
    assert not wrong, wrong
