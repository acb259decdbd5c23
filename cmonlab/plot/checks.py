"""Results of a calibration: the errors of checks relative to their tolerances, and delays against their true values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import counted, digits, duration

from .frame import LEGEND_WIDTH, empty, frame, need, rows_px
from .style import FAILED, FAINT, NEUTRAL, color
from .text import fold, plain

COLUMNS = ("group", "name", "truth", "measured", "error", "unit", "tolerance", "pass")
EDGE = 3.0  # errors beyond so many tolerances are drawn at the edge
_NAME_WIDTH = 48


def check_errors(table: pd.DataFrame, *, caption: str = "") -> go.Figure:
    """Draw the error of every check in units of its tolerance.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("checks")``, one row per check. Truth, measured value, error and
        tolerance of a row are in its ``unit``.
    caption : str
        Text below the plot.

    Returns
    -------
    Figure
        One row per scenario (a check's name up to its colon, else up to its last comma), in the order of the table,
        and the band in which checks pass. An error above three tolerances is drawn at the edge. The error of a check
        that must be exact is drawn at 0 or at the edge. The hover text has the numbers; failed checks are labelled
        with their quantity.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    title = "Error of every check, in tolerances"
    if table.empty:
        return empty(title, "No check was made.", caption)
    table = _split_names(table)
    names = list(dict.fromkeys(table["_scenario"]))
    table = table.assign(_x=in_tolerances(table), _y=table["_scenario"].map(names.index))
    figure = go.Figure()
    figure.add_vrect(x0=-1, x1=1, fillcolor=FAINT, line_width=0, layer="below")
    for passed, marker in (
        (True, {"color": color(0), "symbol": "circle", "size": 9, "opacity": 0.7}),
        (False, {"color": FAILED, "symbol": "x", "size": 10}),
    ):
        rows = table[table["pass"] == passed]
        figure.add_scatter(
            x=rows["_x"],
            y=rows["_y"],
            mode="markers" if passed else "markers+text",
            marker=marker,
            name="passed" if passed else "failed",
            text=[*map(plain, rows["_quantity"])],
            textposition=["middle left" if x > 0 else "middle right" for x in rows["_x"]],
            hovertext=[_hover(row) for _, row in rows.iterrows()],
            hoverinfo="text",
        )
    labels = [fold(name, _NAME_WIDTH) for name in names]
    figure.update_xaxes(title_text="Error / tolerance (1: the tolerance)", range=[-EDGE - 0.2, EDGE + 0.2], dtick=1)
    figure.update_yaxes(
        title_text="", range=[len(names) - 0.4, -0.6], tickvals=list(range(len(names))), ticktext=labels
    )
    failed = int((~table["pass"]).sum())
    subtitle = f"{counted(len(table), 'check', 'checks')}, {failed} failed. In the band, checks pass."
    height = rows_px(labels, 24)
    return frame(
        figure,
        title=title,
        subtitle=subtitle,
        caption=caption,
        labels=labels,
        legend=[["passed", "failed"]],
        plot_px=height,
        least_px=height,
    )


def in_tolerances(table: pd.DataFrame) -> np.ndarray:
    """Return error / tolerance of each check, limited to ± `EDGE`.

    Parameters
    ----------
    table : DataFrame
        Columns ``error`` and ``tolerance`` of ``schema.describe("checks")``.

    Returns
    -------
    numpy.ndarray of float64, shape (checks,)
        A check that must be exact (tolerance 0) is at 0 or at an edge; NaN becomes `EDGE`, as it does not pass.
    """
    error, tolerance = (table[name].to_numpy(float) for name in ("error", "tolerance"))
    exact = np.where(error == 0, 0.0, np.copysign(EDGE, error))
    ratio = np.divide(error, tolerance, out=exact, where=tolerance > 0)
    return np.clip(np.nan_to_num(ratio, nan=EDGE), -EDGE, EDGE)


def check_delays(table: pd.DataFrame, *, caption: str = "") -> go.Figure:
    """Draw the delays that cmonlab reported against the true delays.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("checks")``. Rows of the group ``delay`` in ns with a truth above 0 are drawn.
    caption : str
        Text below the plot.

    Returns
    -------
    Figure
        Both axes in µs, logarithmic; grey bars are the tolerance of each check around its true value.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    title = "Delays: reported against true"
    delays = table[(table["group"] == "delay") & (table["unit"] == "ns") & (table["truth"] > 0)]
    delays = delays[delays["measured"] > 0]
    if delays.empty:
        return empty(title, "No delay was checked.", caption)
    figure, ends = go.Figure(), _ends(delays)
    figure.add_scatter(
        x=ends, y=ends, mode="lines", name="equal", line={"color": NEUTRAL, "width": 1}, hoverinfo="skip"
    )
    legend = ["equal", "tolerance", *_delay_points(figure, delays)]
    span = [float(np.log10(end)) for end in ends]
    for update, what in ((figure.update_xaxes, "True"), (figure.update_yaxes, "Reported")):
        update(
            title_text=f"{what} delay (µs, logarithmic)",
            type="log",
            range=span,
            dtick=1,
            exponentformat="none",
            separatethousands=True,
        )
    subtitle = "Grey bars are the tolerance around the true delay; a cross is a check that failed."
    return frame(figure, title=title, subtitle=subtitle, caption=caption, legend=[legend], plot_px=440)


def _delay_points(figure: go.Figure, delays: pd.DataFrame) -> list[str]:
    """Add the tolerances and the reported delays, one trace per scenario; return their entries in the legend."""
    low = np.minimum(delays["tolerance"], delays["truth"] * 0.999)  # a logarithmic axis has no 0
    figure.add_scatter(
        x=delays["truth"] / 1e3,
        y=delays["truth"] / 1e3,
        mode="markers",
        name="tolerance",
        marker={"size": 1, "color": NEUTRAL},
        hoverinfo="skip",
        error_y={
            "type": "data",
            "array": delays["tolerance"] / 1e3,
            "arrayminus": low / 1e3,
            "color": NEUTRAL,
            "width": 5,
            "thickness": 2,
        },
    )
    names = []
    for index, (name, rows) in enumerate(_split_names(delays).groupby("_scenario", sort=False)):
        symbols = ["circle" if passed else "x" for passed in rows["pass"]]
        shades = [color(index) if passed else FAILED for passed in rows["pass"]]
        names.append(fold(name, LEGEND_WIDTH))
        figure.add_scatter(
            x=rows["truth"] / 1e3,
            y=rows["measured"] / 1e3,
            mode="markers",
            name=names[-1],
            marker={"size": 9, "symbol": symbols, "color": shades},
            hovertext=[_hover(row) for _, row in rows.iterrows()],
            hoverinfo="text",
        )
    return names


def _ends(delays: pd.DataFrame) -> list[float]:
    values = delays[["truth", "measured"]].to_numpy(float) / 1e3
    return [10 ** np.floor(np.log10(values.min())), 10 ** np.ceil(np.log10(values.max() * 1.01))]


def _split_names(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with two more columns: ``_scenario``, with the group before it, and ``_quantity``."""
    rows = []
    for group, name in zip(table["group"], table["name"], strict=True):
        rest = name.removeprefix(f"{group}: ")
        parts = rest.partition(": ") if ": " in rest else rest.rpartition(", ")
        rows.append((f"{group}: {parts[0] or rest}", parts[2] if parts[0] else ""))
    scenario, quantity = zip(*rows, strict=True)
    return table.assign(_scenario=scenario, _quantity=quantity)


def _hover(row: pd.Series) -> str:
    def value(number: float) -> str:
        return duration(number) if row["unit"] == "ns" and number >= 0 else f"{digits(number, 4)} {row['unit']}".strip()

    within = f"tolerance ±{value(row['tolerance'])}" if row["tolerance"] else "must be exact"
    return (
        f"<b>{plain(row['name'])}</b><br>true {value(row['truth'])}, measured {value(row['measured'])}"
        f"<br>error {value(row['error'])}, {within}"
    )
