"""Log-linear histograms: buckets as the kernel numbers them, quantiles within their bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.data.analysis import histogram

TIMES = st.integers(0, 2**64 - 1) | st.integers(0, 63).flatmap(lambda e: st.sampled_from([2**e - 1, 2**e, 2**e + 1]))


@given(TIMES)
def test_buckets_equal_those_of_the_kernel(time_ns):
    if time_ns < 64:
        wanted = time_ns
    else:
        e = time_ns.bit_length() - 1
        wanted = ((e - 5) << 5) + (time_ns >> (e - 5))
    assert histogram.bucket_of(np.array([time_ns], np.uint64)).tolist() == [wanted]


def test_buckets_have_no_gaps():
    every = np.arange(histogram.BUCKETS)
    lower, upper = histogram.bounds(every)
    assert (histogram.bucket_of(lower) == every).all()
    assert (histogram.bucket_of(upper) == every).all()
    assert (lower[1:] == upper[:-1] + np.uint64(1)).all()
    assert (int(lower[0]), int(upper[-1])) == (0, 2**64 - 1)


@given(st.integers(0, 2**62))
def test_the_middle_of_a_bucket_is_close_to_all_its_times(time_ns):
    middle = histogram.middle(histogram.bucket_of(np.array([time_ns], np.uint64)))[0]
    assert abs(middle - time_ns) <= histogram.MAX_RELATIVE_ERROR * time_ns


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**40)), min_size=1, max_size=200),
    st.lists(st.floats(0, 1), min_size=1, max_size=3),
    st.integers(1, 4),
)
def test_quantiles_of_merged_histograms_are_close_to_the_exact_ones(samples, wanted, windows):
    """However the times are spread over windows, whose cells are only added."""
    group, times = (np.array(values) for values in zip(*samples, strict=True))
    cells = np.stack([group, histogram.bucket_of(times.astype(np.uint64)), np.arange(len(times)) % windows])
    (g, b, _), count = np.unique(cells, axis=1, return_counts=True)
    found = histogram.quantiles(g, b, count, 4, wanted)
    for number in range(4):
        mine = times[group == number]
        for row, quantile in enumerate(wanted):
            if len(mine) == 0:
                assert np.isnan(found[row, number])
            else:
                exact = np.quantile(mine, quantile)
                assert found[row, number] == pytest.approx(exact, rel=histogram.MAX_RELATIVE_ERROR, abs=1e-9)


def test_no_cells_give_nan():
    none = np.empty(0, np.int64)
    assert np.isnan(histogram.quantiles(none, none, none, 2, [0.5])).all()
    assert histogram.quantiles(none, none, none, 0, [0.5, 0.9]).shape == (2, 0)
