"""Bytes of a stream, counted from its segments."""

import numpy as np
import pandas as pd

from cmonlab.study.testbed.traffic import new_bytes


def segments(begin, sizes, outcomes):
    return pd.DataFrame(
        {
            "seq": (np.array(begin, np.int64) % 2**32).astype(np.uint32),
            "payload_bytes": np.array(sizes, np.uint32),
            "outcome": outcomes,
        }
    )


def test_new_bytes_handles_sequence_numbers_that_wrap():
    size, count = 2**31 - 1, 9
    begin = [2**32 - 10 + size * n for n in range(count)]
    assert new_bytes(segments(begin, [size] * count, ["delivered"] * count)) == (size * count, True)


def test_new_bytes_ignores_repeated_and_late_segments():
    rows = segments([0, 100, 300, 200, 100], [100] * 5, ["delivered", "dropped", *["delivered"] * 3])
    assert new_bytes(rows) == (400, True)
    assert new_bytes(rows.iloc[:4]) == (400, False)
