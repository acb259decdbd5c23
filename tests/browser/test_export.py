"""Figures on paper: exact in width, readable in size, with their fonts inside."""

import re
import struct

import plotly.graph_objects as go
import pytest

from cmonlab import plot
from cmonlab.plot.physical import WIDTHS_MM
from tests.support import tables

HOPS = tables.make_hops(400)
CAPTION = "600 complete journeys · 0 lost events · tracing overhead: 2 %"
MM, POINT = 96 / 25.4, 96 / 72


@pytest.fixture(scope="module")
def ridges():
    return plot.ridgeline(HOPS, caption=CAPTION)


def svg_of(figure, path, **options):
    """Export as SVG; return its text, its width in mm and the width of its viewBox in px."""
    text = plot.export(figure, path / "figure.svg", **options).read_text()
    width = re.search(r'<svg[^>]*? width="([\d.]+)mm" height="([\d.]+)mm"[^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    mm, high_mm, px, high_px = map(float, width.groups())
    assert mm / px == pytest.approx(high_mm / high_px, rel=1e-3)
    return text, mm, px


@pytest.mark.parametrize(("width", "mm"), [("column", 84.68), ("page", 177.8), (120, 120.0)])
def test_an_svg_has_its_width_in_mm_and_no_type_below_7_pt(ridges, tmp_path, width, mm):
    text, found_mm, px = svg_of(ridges, tmp_path, width=width)
    assert found_mm == pytest.approx(mm, abs=0.005)
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", text)]
    assert sizes and min(sizes) * (found_mm / px) * MM / POINT >= 6.99
    assert "Density of each segment" not in text and "tracing overhead" not in text
    assert "Time in the segment (µs, logarithmic)" in text


def test_the_caption_comes_where_it_is_wanted_and_the_figure_is_left_alone(ridges, tmp_path):
    before = ridges.to_json()
    text, _, _ = svg_of(ridges, tmp_path, caption=True)
    assert "tracing overhead" in " ".join(re.sub(r"<[^>]+>", " ", text).split())
    assert ridges.to_json() == before


def test_a_pdf_has_a_page_of_that_width_and_its_fonts_inside(ridges, tmp_path):
    data = plot.export(ridges, tmp_path / "figure.pdf").read_bytes()
    boxes = re.findall(rb"/MediaBox ?\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", data)
    # Chromium rounds the page down to 1/75 inch.
    assert len(boxes) == 1
    assert 0 <= WIDTHS_MM["column"] / 25.4 * 72 - float(boxes[0][0]) < 0.97
    assert b"/FontFile2" in data


def test_a_png_has_300_dots_per_inch_and_says_so(ridges, tmp_path):
    data = plot.export(ridges, tmp_path / "figure.png").read_bytes()
    wide, _ = struct.unpack(">II", data[16:24])
    at = data.index(b"pHYs")
    per_metre, _, unit = struct.unpack(">IIB", data[at + 4 : at + 13])
    assert unit == 1 and wide / per_metre * 1e3 == pytest.approx(WIDTHS_MM["column"], abs=0.1)


def test_a_height_is_kept(ridges, tmp_path):
    plot.export(ridges, tmp_path / "figure.svg", height_mm=200)
    assert 'height="200.000mm"' in (tmp_path / "figure.svg").read_text()


def test_a_widget_and_a_dark_figure_are_exported_as_they_are(tmp_path):
    widget = go.FigureWidget(plot.topology(tables.make_topology(200), tables.make_edges(tables.make_topology(200))))
    text, _, _ = svg_of(plot.dark(widget), tmp_path)
    assert "rgb(20, 24, 31)" in text and "host:br-1a2b" in text
