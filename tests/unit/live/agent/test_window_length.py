"""How long windows are when several clients request a length."""

import pytest

from cmonlab.errors import TransportError
from cmonlab.live.agent import window_length
from cmonlab.live.agent.window_length import WindowLength


def test_the_shortest_requested_window_length_counts():
    length = WindowLength()
    assert length.window_s == 1.0
    assert length.request("a", 0.5) == 0.5
    assert length.request("b", 0.25) == 0.25
    assert length.request("a", 0.1) == 0.1
    assert length.request("a", None) == 0.25
    assert length.request("b", None) == 1.0
    assert length.request("c", None) == 1.0


def test_a_request_that_is_not_renewed_expires(monkeypatch):
    now = 100.0
    monkeypatch.setattr(window_length.time, "monotonic", lambda: now)
    length = WindowLength()
    length.request("gone", 0.1)
    now += window_length.LEASE_S - 1
    assert length.window_s == 0.1
    length.request("there", 0.5)
    now += 2
    assert length.window_s == 0.5


@pytest.mark.parametrize("seconds", [0.0, 0.05, 1.5, float("nan")])
def test_a_window_length_out_of_range_is_refused(seconds):
    length = WindowLength()
    with pytest.raises(TransportError, match=r"ask for 0\.1 to 1 s"):
        length.request("a", seconds)
    assert length.window_s == 1.0
