"""How long windows are, when several ask."""

import pytest

from cmonlab.errors import TransportError
from cmonlab.live.agent import pace
from cmonlab.live.agent.pace import Pace


def test_the_shortest_window_that_is_asked_for_counts():
    asked = Pace()
    assert asked.window_s == 1.0
    assert asked.ask("a", 0.5) == 0.5
    assert asked.ask("b", 0.25) == 0.25
    assert asked.ask("a", 0.1) == 0.1
    assert asked.ask("a", None) == 0.25
    assert asked.ask("b", None) == 1.0
    assert asked.ask("c", None) == 1.0


def test_who_does_not_ask_again_is_forgotten(monkeypatch):
    now = 100.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    asked = Pace()
    asked.ask("gone", 0.1)
    now += pace.LEASE_S - 1
    assert asked.window_s == 0.1
    asked.ask("there", 0.5)
    now += 2
    assert asked.window_s == 0.5


@pytest.mark.parametrize("seconds", [0.0, 0.05, 1.5, float("nan")])
def test_windows_that_no_agent_hands_out_are_refused(seconds):
    asked = Pace()
    with pytest.raises(TransportError, match=r"ask for 0\.1 to 1 s"):
        asked.ask("a", seconds)
    assert asked.window_s == 1.0
