"""Tables of comparisons: differences between the sessions of several sides."""

from .column import Column, read

_SIDE = read("""
    metric    | object |  | quantity that is compared
    direction | object |  | src → dst on this side, empty if the metric has none
    name      | object |  | name of the side
    baseline  | object |  | name of the side that it is compared with
""")

ROWS: dict[str, str] = {
    "compared": "One row per metric, side and statistic; intervals are 95% bootstrap intervals (`analysis.bootstrap`), "
    "each for itself, and NaN if a side has a single value.",
    "effects": "One row per metric and side: effect sizes over all pairs of a value of each side, with equal weight "
    "for each run; an interval of width 0 at 0 or 1 means that no pair differed in the other direction.",
    "shifts": "One row per metric, side and quantile: the difference over the whole distribution.",
}

TABLES: dict[str, tuple[Column, ...]] = {
    "compared": _SIDE
    + read("""
        statistic      | object  |  | mean, p50, p99 and so on; with several runs, the mean of the runs' values
        unit           | object  |  | unit of values and differences, empty for a share
        runs           | int64   |  | runs of this side
        baseline_runs  | int64   |  | runs of the baseline
        n              | int64   |  | values of this side, all runs together
        baseline_n     | int64   |  | values of the baseline, all runs together
        value          | float64 |  | statistic of this side
        baseline_value | float64 |  | statistic of the baseline
        difference     | float64 |  | value - baseline_value
        low            | float64 |  | lower end of the difference's interval
        high           | float64 |  | upper end of the difference's interval
        ratio          | float64 |  | value / baseline_value, NaN unless both are above 0
        ratio_low      | float64 |  | lower end of the ratio's interval
        ratio_high     | float64 |  | upper end of the ratio's interval
        clock_error    | float64 |  | clock errors can explain a smaller difference
        overhead       | float64 |  | tracing overhead can explain a smaller difference, NaN if it was not measured
        verdict        | object  |  | greater or less, else why neither: see docs/comparing.md
    """),
    "effects": _SIDE
    + read("""
        unit             | object  |  | unit of the shift
        superiority      | float64 |  | chance that a value of this side exceeds one of the baseline, ties half (A12)
        superiority_low  | float64 |  | lower end of its interval
        superiority_high | float64 |  | upper end of its interval
        cliffs_delta     | float64 |  | 2 * superiority - 1
        delta_low        | float64 |  | lower end of its interval
        delta_high       | float64 |  | upper end of its interval
        shift            | float64 |  | median of the pairs' differences (Hodges and Lehmann)
        shift_low        | float64 |  | lower end of its interval
        shift_high       | float64 |  | upper end of its interval
    """),
    "shifts": _SIDE
    + read("""
        unit           | object  |  | unit of values and differences
        quantile       | float64 |  | from 0 to 1
        value          | float64 |  | quantile of this side
        baseline_value | float64 |  | quantile of the baseline
        difference     | float64 |  | value - baseline_value
        low            | float64 |  | lower end of the difference's interval
        high           | float64 |  | upper end of the difference's interval
    """),
}
