"""What an export refuses, and how it lays a figure out; the rest needs a browser."""

import plotly.graph_objects as go
import pytest

from cmonlab import plot
from cmonlab.errors import ExportError, UnknownName
from cmonlab.plot.physical import SCALE, SMALLEST_PX, WIDTHS_MM, fit
from cmonlab.plot.text import longest
from tests.support import tables

CAPTION = "n = 600 complete journeys · 7 lost events · tracing overhead 2 %"
HOPS = tables.make_hops(60)


def test_export_without_a_browser_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(ExportError, match="apt install chromium"):
        plot.export(plot.ecdf(HOPS), tmp_path / "figure.svg")
    assert not list(tmp_path.iterdir())


def test_unknown_suffixes_and_widths_are_refused(tmp_path):
    with pytest.raises(ExportError, match=r"\.svg, \.pdf, \.png"):
        plot.export(plot.ecdf(HOPS), tmp_path / "figure.eps")
    with pytest.raises(UnknownName, match="did you mean 'column'"):
        plot.export(plot.ecdf(HOPS), tmp_path / "figure.svg", width="colum")
    with pytest.raises(ExportError, match="30 to 1000 mm"):
        plot.export(plot.ecdf(HOPS), tmp_path / "figure.svg", width=3)


def test_widths_are_those_of_paper_columns():
    # acmart sigconf: \columnwidth 241.14749pt, \textwidth 506.295pt, of 72.27 to an inch.
    assert WIDTHS_MM["column"] == pytest.approx(241.14749 / 72.27 * 25.4, abs=0.1)
    assert WIDTHS_MM["page"] == pytest.approx(506.295 / 72.27 * 25.4, abs=0.2)


def test_type_of_every_figure_becomes_7_pt_or_more():
    journeys = tables.make_journeys(HOPS)
    figures = plot.topology(tables.make_topology(5)), plot.ridgeline(HOPS, caption=CAPTION), plot.heatmap(journeys)
    sizes = [note.font.size for figure in figures for note in figure.layout.annotations]
    template = plot.template("light").layout
    sizes += [
        template.font.size,
        template.xaxis.tickfont.size,
        template.coloraxis.colorbar.tickfont.size,
        template.legend.font.size,
        template.annotationdefaults.font.size,
    ]
    assert min(size for size in sizes if size) >= SMALLEST_PX
    assert pytest.approx(7.0) == SMALLEST_PX * SCALE * 0.75


def test_fit_folds_labels_drops_the_title_and_does_not_change_the_figure():
    figure = plot.breakdown(tables.make_breakdown(HOPS), caption=CAPTION)
    before = figure.to_json()
    fitted = fit(figure, 377)
    assert figure.to_json() == before and isinstance(fitted, go.Figure)
    assert fitted.layout.title.text is None and not fitted.layout.legend.title.text
    assert max(longest([trace.name]) for trace in fitted.data) <= 50
    assert {text.replace("<br>", " ") for text in fitted.layout.yaxis.ticktext} == {
        text.replace("<br>", " ") for text in figure.layout.yaxis.ticktext
    }
    assert CAPTION in fit(figure, 377, caption=True).layout.legend.title.text.replace("<br>", " ")


def test_caption_without_a_legend_is_below_the_plot():
    figure = plot.heatmap(tables.make_journeys(HOPS), caption=CAPTION)
    notes = [note for note in fit(figure, 377, caption=True).layout.annotations if note.name == "caption"]
    assert [note.text.replace("<br>", " ") for note in notes] == [CAPTION]
    assert not [note for note in fit(figure, 377).layout.annotations if note.name == "caption"]


def test_crowded_matrix_has_fewer_names_on_paper():
    figure = plot.flow_matrix(tables.make_pairs(200, share=0.01))
    fitted = fit(figure, 377)
    assert (
        len(fitted.layout.xaxis.tickvals) == len(fitted.layout.yaxis.tickvals) <= 13 < len(figure.layout.xaxis.tickvals)
    )
