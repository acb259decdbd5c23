"""The benchmarks' figures, from the samples of bench.json."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cmonlab.data.analysis.overhead import UNTRACED
from cmonlab.data.analysis.stats import Summary, ratios, summarise
from cmonlab.plot.frame import frame, rows_px
from cmonlab.plot.style import NEUTRAL, color

from .outcome import Sample

METRICS = ("throughput", "p50", "p99", "p99.9", "CPU")
#: More is better in these.
_MORE = frozenset({"throughput"})
_OWN, _PEER = "cmonlab", "others"
_ROUNDS = "Medians of ratios within a round, with their 95% bootstrap intervals."


def _bars(found: Sequence[Summary]) -> dict:
    return {
        "type": "data",
        "symmetric": False,
        "thickness": 1.5,
        "array": [one.interval[1] - one.median for one in found],
        "arrayminus": [one.median - one.interval[0] for one in found],
    }


def side_by_side(samples: Sequence[Sample]) -> dict[str, go.Figure]:
    """Return one figure per workload: each metric relative to the untraced one, by tracer."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for sample in samples:
        workload, _, metric = sample.measure.rpartition(": ")
        if sample.part == "peers" and metric in METRICS:
            found.setdefault(workload, {}).setdefault(metric, {})[sample.case] = sample.values
    return {f"Side by side: {workload}": _beside(workload, metrics) for workload, metrics in found.items()}


def _beside(workload: str, metrics: dict[str, dict[str, list[float]]]) -> go.Figure:
    names = [metric for metric in METRICS if metric in metrics]
    ways = [way for way in metrics[names[0]] if way != UNTRACED]
    figure = make_subplots(1, len(names), shared_yaxes=True, horizontal_spacing=0.02, subplot_titles=names)
    for column, metric in enumerate(names, 1):
        compared = {way: summarise(ratios(metrics[metric][way], metrics[metric][UNTRACED])) for way in ways}
        for owner, index in ((_OWN, 0), (_PEER, 1)):
            rows = [way for way in ways if way.startswith(_OWN) == (owner == _OWN)]
            values = [compared[way] for way in rows]
            figure.add_scatter(
                x=[one.median for one in values],
                y=rows,
                error_x=_bars(values) | {"color": color(index)},
                mode="markers",
                name=owner,
                legendgroup=owner,
                showlegend=column == 1,
                row=1,
                col=column,
                marker={"color": color(index), "size": 9, "symbol": ("circle", "diamond")[index]},
                hovertemplate="%{y}: %{x:.3f} × untraced<extra></extra>",
            )
        figure.add_vline(x=1, line={"color": NEUTRAL, "width": 1, "dash": "dot"}, row=1, col=column)
        title = f"× untraced<br>({'more' if metric in _MORE else 'less'} is better)"
        ends = [end for one in compared.values() for end in one.interval]
        at = ticks(min(1, *ends), max(1, *ends))
        figure.update_xaxes(
            type="log",
            title_text=title,
            tickvals=at,
            ticktext=[f"{one:g}" for one in at],
            tickangle=0,
            row=1,
            col=column,
        )
    figure.update_yaxes(categoryorder="array", categoryarray=ways[::-1])
    figure.update_yaxes(range=[-0.6, len(ways) - 0.4])
    height = rows_px(ways, 30)
    return frame(
        figure,
        title=f"Tracing overhead: {workload}",
        subtitle=f"{_ROUNDS} CPU: CPU time of the machine per operation.",
        labels=ways,
        legend=[(_OWN, _PEER)],
        plot_px=height,
        least_px=height,
    )


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return a few round numbers around a range, for a logarithmic axis: of 1, 2 and 5 times powers of ten.

    If the range is narrower than such steps: 1, and the rounded ends that are not close to 1.
    """
    if high / low < 3:
        digits = 2 if high / low > 1.02 else 4
        ends = [end for end in (low, high) if abs(math.log(end)) > 0.3 * math.log(high / low)]
        return sorted({1.0, *(round(end, digits) for end in ends)})
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    inside = [at for at in found if 0.9 * low <= at <= 1.1 * high]
    return inside[:: -(-len(inside) // most)]


def over_scale(samples: Sequence[Sample], part: str, measure: str, title: str, scale: str) -> go.Figure:
    """Return one line per variant of a measurement over a scale, with intervals."""
    chosen = [s for s in samples if s.part == part and s.measure == measure and s.at is not None]
    cases = list(dict.fromkeys(sample.case for sample in chosen))
    figure = go.Figure()
    for index, case in enumerate(cases):
        rows = sorted((sample for sample in chosen if sample.case == case), key=lambda sample: sample.at)
        found = [summarise(sample.values) for sample in rows]
        figure.add_scatter(
            x=[sample.at for sample in rows],
            y=[one.median for one in found],
            mode="lines+markers",
            name=case,
            line={"color": color(index)},
            error_y=_bars(found) | {"color": color(index)},
            hovertemplate=f"{case}, %{{x:,}} {scale}: %{{y:,.4g}}<extra></extra>",
        )
    unit = chosen[0].unit if chosen else ""
    ticks = sorted({sample.at for sample in chosen})
    figure.update_xaxes(type="log", title_text=scale, tickvals=ticks, ticktext=[f"{at:,.0f}" for at in ticks])
    figure.update_yaxes(title_text=unit, rangemode="tozero")
    subtitle = "Medians over the rounds, with their 95% bootstrap intervals."
    return frame(figure, title=title, subtitle=subtitle, legend=[cases] if len(cases) > 1 else [], plot_px=320)


def dots(samples: Sequence[Sample], title: str, axis: str, line: float | None = None) -> go.Figure:
    """Return one row per sample, a dot with its interval; `line` is drawn for comparison."""
    found, labels = [summarise(sample.values) for sample in samples], [sample.case for sample in samples]
    figure = go.Figure()
    figure.add_scatter(
        x=[one.median for one in found],
        y=labels,
        error_x=_bars(found) | {"color": color(0)},
        mode="markers",
        marker={"color": color(0), "size": 9},
        hovertemplate="%{y}: %{x:.4g}<extra></extra>",
    )
    if line is not None:
        figure.add_vline(x=line, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text=axis, rangemode="tozero")
    figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1], range=[-0.6, len(labels) - 0.4])
    height = rows_px(labels, 26)
    subtitle = "Medians over the rounds, with their 95% bootstrap intervals."
    return frame(figure, title=title, subtitle=subtitle, labels=labels, plot_px=height, least_px=height)
