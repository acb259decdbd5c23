"""Confidence intervals of a sample contain the true values as often as stated."""

import re

from cmonlab.study.calibrate.groups import sampling


def test_intervals_of_samples_have_the_stated_coverage(lab):
    checks = [check for found in sampling.run(lab, quick=True) for check in found]
    assert not [check for check in checks if not check.passed]
    assert {check.group for check in checks} == {"sampling"}
    shares = [check for check in checks if check.truth == sampling.SHARE]
    assert len(shares) == 2 and all(0 < check.tolerance < 0.01 for check in shares)
    covered = [check for check in checks if "coverage" in check.name]
    assert len(covered) == 7
    ends = [int(re.search(r"(\d+)% have two ends", check.note)[1]) for check in covered]
    assert sorted(ends)[1] > 80 and min(ends) > 30  # p99 of small shares has no upper end
