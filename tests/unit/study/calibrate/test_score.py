"""Delays of a session scored against reference values; figures of checks."""

import numpy as np
import pandas as pd
import pytest

from cmonlab import plot, schema
from cmonlab.errors import UnknownName
from cmonlab.plot.checks import EDGE, in_tolerances
from cmonlab.study.calibrate.check import Check
from cmonlab.study.calibrate.groups.delay_queues import bucket_waits
from cmonlab.study.calibrate.score import compared, known, leaked, tolerance_ns, unseen


class Recorded:
    """The parts of a session that `score` needs."""

    def __init__(self, *gaps):
        self._gaps, self.trace_gap_ns = gaps, sum(end - start for start, end in gaps)

    def trace_gaps(self):
        return pd.DataFrame([(0, *one) for one in self._gaps], columns=["cpu", "start_ns", "end_ns"])


def hops(count):
    """Return two hops per packet: a packet begins every millisecond and takes 10 µs."""
    begin = np.arange(count) * 1_000_000
    return pd.DataFrame({"number": np.repeat(range(count), 2), "ts_ns": np.ravel([begin, begin + 10_000], "F")})


def score(truth, measured, session=None):
    found = compared("made", truth, measured, session or Recorded(), hops(len(truth)), note="made.")
    assert all(check.name.startswith("delay: made, ") for check in found)
    return {check.name.removeprefix("delay: made, "): check for check in found}


def test_tolerance_is_two_microseconds_or_five_percent():
    assert tolerance_ns(1_000) == 2_000 and tolerance_ns(40_000) == 2_000 and tolerance_ns(100_000) == 5_000


def test_equal_delays_pass_and_different_ones_fail():
    truth = pd.Series(np.linspace(50_000, 100_000, 100))
    found = score(known(truth), truth + 100)
    assert all(check.passed for check in found.values())
    assert found["packets compared"].truth == 100 and found["p50"].error == pytest.approx(100)
    assert found["p99 of a packet's error"].measured == pytest.approx(100 / 2_600, rel=0.1)
    found = score(known(truth), truth * 1.06)
    assert not any(check.passed for name, check in found.items() if name != "packets compared")


def test_few_wrong_packets_are_found_although_the_quantiles_agree():
    truth = pd.Series(np.full(100, 50_000.0))
    measured = truth.copy()
    measured[[10, 20]] = 20_000
    found = score(known(truth), measured)
    assert found["p50"].passed and found["p99"].passed and not found["p99 of a packet's error"].passed


def test_missing_packet_fails():
    truth = pd.Series(np.full(10, 50_000.0))
    found = score(known(truth), truth.drop(3))
    assert found["packets compared"].error == -1 and not found["packets compared"].passed


def test_delays_without_reference_fail():
    found = score(known(pd.Series([0.0]), pd.Series([1e9])), pd.Series([50_000.0]))
    assert found["packets compared"].truth == 0 and not found["p50"].passed and not found["p99"].passed


def test_imprecise_references_are_left_out_and_counted():
    low, high = pd.Series([99_000.0, 50_000]), pd.Series([101_000.0, 150_000])
    found = score(known(low, high), pd.Series([100_000, 1]))
    assert found["packets compared"].truth == 1 and found["p50"].truth == 100_000
    assert "1 of 2 packets are left out" in found["p50"].note and "±1,000 ns" in found["p50"].note


def test_packets_in_flight_during_trace_gaps_are_left_out():
    truth = known(pd.Series([50_000.0] * 5))
    session = Recorded((2_040_000, 2_045_000))  # after the last hop of packet 2, within its delay
    assert list(unseen(session, hops(5), truth)) == [2]
    assert list(unseen(Recorded(), hops(5), truth)) == []
    found = score(truth, pd.Series([50_000.0] * 5).drop(2), session)
    assert found["packets compared"].truth == 4 and found["packets compared"].passed
    assert found["p50"].trace_gap_ns == 5_000 and " 1 packets are left out that were in flight" in found["p50"].note


def test_leaked_is_the_change_of_other_segments():
    without, same = pd.Series([3_000, 3_100, 3_200]), pd.Series([4_000, 4_100, 4_200])
    check = leaked("made", without, same, 10_000, trace_gap_ns=0)
    assert (check.truth, check.measured, check.tolerance, check.passed) == (0, 1_000, 2_000, True)
    assert not leaked("made", without, same + 2_000, 10_000, trace_gap_ns=0).passed
    assert leaked("made", without, same + 2_000, 100_000, trace_gap_ns=0).passed


def test_bucket_waits_follows_a_token_bucket():
    # Two packets of 1,000 bytes at once, then one every microsecond (a gigabyte a second).
    waits = bucket_waits(pd.Series([100] * 5), 1.0, 2_000)
    assert waits.tolist() == [0, 0, 1_000, 2_000, 3_000]
    # The bucket fills again, up to its size.
    waits = bucket_waits(pd.Series([0, 0, 0, 1_500, 90_000, 90_000, 90_000]), 1.0, 2_000)
    assert waits.tolist() == [0, 0, 1_000, 500, 0, 0, 1_000]


CHECKS = pd.DataFrame(
    [
        Check("delay", "delay: a, p50", 30_000.0, 33_000.0, "ns", 2_000.0).describe(),
        Check("delay", "delay: a, leaked", 0.0, 500.0, "ns", 2_000.0).describe(),
        Check("loss", "<b>, IPv6: dropped", 10.0, 10.0, "packets", 0.0).describe(),
        Check("loss", "<b>, IPv6: named, all", 10.0, 9.0, "packets", 0.0).describe(),
        Check("loss", "<b>, IPv6: share", 1.0, float("nan"), "", 0.1).describe(),
    ]
)


def test_checks_have_the_columns_of_the_schema():
    assert list(CHECKS.columns) == schema.columns("checks")


def test_in_tolerances_limits_errors():
    assert in_tolerances(CHECKS).tolist() == [1.5, 0.25, 0.0, -EDGE, EDGE]


def test_check_errors_has_one_row_per_scenario_and_marks_failures():
    figure = plot.check_errors(CHECKS, caption="a caption")
    passed, failed = figure.data
    assert [list(passed.x), list(failed.x)] == [[0.25, 0.0], [1.5, -EDGE, EDGE]]
    assert list(failed.text) == ["p50", "named, all", "share"] and list(failed.y) == [0, 1, 1]
    assert list(figure.layout.yaxis.ticktext) == ["delay: a", "loss: &lt;b&gt;, IPv6"]
    assert "5 checks, 3 failed" in figure.layout.title.subtitle.text
    assert passed.marker.symbol != failed.marker.symbol


def test_check_delays_draws_measured_over_reference():
    figure = plot.check_delays(CHECKS)
    assert [(list(data.x), list(data.y)) for data in figure.data[2:]] == [([30.0], [33.0])]
    assert figure.data[1].error_y.array[0] == 2.0 and figure.data[2].marker.symbol == ("x",)


@pytest.mark.parametrize("draw", [plot.check_errors, plot.check_delays])
def test_figures_without_checks_have_a_sentence(draw):
    assert "was" in draw(CHECKS.iloc[:0]).layout.annotations[0].text
    with pytest.raises(UnknownName, match="tolerance"):
        draw(CHECKS.drop(columns="tolerance"))
