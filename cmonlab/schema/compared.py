"""Tables of comparisons: what differs between sessions of several sides."""

from .column import Column, read

_WHO = read("""
    metric    | object |  | what is compared
    direction | object |  | src → dst of this side, empty where the metric has none
    name      | object |  | the side
    baseline  | object |  | the side that it is compared with
""")

TABLES: dict[str, tuple[Column, ...]] = {
    # One row a side and statistic. Intervals are 95% bootstrap intervals (`analysis.bootstrap`), each for itself; NaN
    # where a side has a single value.
    "compared": _WHO
    + read("""
        statistic      | object  |  | mean, p50, p99 and so on: of several runs the mean of theirs
        unit           | object  |  | of values and differences; empty for a share
        runs           | int64   |  | runs of this side
        baseline_runs  | int64   |  | runs of the baseline
        n              | int64   |  | values of this side, all runs together
        baseline_n     | int64   |  | values of the baseline
        value          | float64 |  | of this side
        baseline_value | float64 |  | of the baseline
        difference     | float64 |  | value less baseline_value
        low            | float64 |  | lower end of the difference's interval
        high           | float64 |  | upper end of the difference's interval
        ratio          | float64 |  | value / baseline_value, NaN where one is not above 0
        ratio_low      | float64 |  | lower end of the ratio's interval
        ratio_high     | float64 |  | upper end of the ratio's interval
        clock_error    | float64 |  | a smaller difference may be the clock's
        overhead       | float64 |  | a smaller difference may be the tracer's, NaN where that was not measured
        verdict        | object  |  | greater or less; else why not: see `analysis.compare.VERDICTS`
    """),
    # One row a side: how far the two sides' values lie apart, over all pairs of one value of each. Each run counts the
    # same. An interval without width at 0 or 1 says that no pair went the other way.
    "effects": _WHO
    + read("""
        unit             | object  |  | of the shift
        superiority      | float64 |  | chance that a value of this side is above one of the baseline, ties half (A12)
        superiority_low  | float64 |  | lower end of its interval
        superiority_high | float64 |  | upper end of its interval
        cliffs_delta     | float64 |  | 2 * superiority - 1
        delta_low        | float64 |  | lower end of its interval
        delta_high       | float64 |  | upper end of its interval
        shift            | float64 |  | median of the pairs' differences (Hodges and Lehmann)
        shift_low        | float64 |  | lower end of its interval
        shift_high       | float64 |  | upper end of its interval
    """),
    # One row a side and quantile: the difference over the whole distribution.
    "shifts": _WHO
    + read("""
        unit           | object  |  | of values and differences
        quantile       | float64 |  | from 0 to 1
        value          | float64 |  | of this side
        baseline_value | float64 |  | of the baseline
        difference     | float64 |  | value less baseline_value
        low            | float64 |  | lower end of the difference's interval
        high           | float64 |  | upper end of the difference's interval
    """),
}
