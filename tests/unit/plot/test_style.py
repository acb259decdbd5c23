"""Text and colours of figures."""

from itertools import combinations

import numpy as np
import pytest

from cmonlab.plot.frame import frame, rows_px, tick_labels
from cmonlab.plot.segments import breakdown
from cmonlab.plot.style import PALETTE
from cmonlab.plot.text import fold, longest, paragraph
from cmonlab.schema.format import digits, duration, percent
from tests.support import tables
from tests.support.figures import XYZ

# Machado, Oliveira, Fernandes (2009): what a colour becomes without one kind of cone.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(color):
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_palette_can_be_distinguished_with_every_kind_of_colour_blindness(kind):
    seen = [lab(np.array(BLINDNESS[kind]) @ linear(color)) for color in PALETTE]
    # A CIE76 difference of 2.3 is just noticeable.
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 12


@pytest.mark.parametrize("background", ["#ffffff", "#14181f"])
def test_palette_contrasts_with_both_backgrounds(background):
    for color in PALETTE:
        light = sorted(float(XYZ[1] @ linear(c)) + 0.05 for c in (color, background))
        assert light[1] / light[0] > 2.2, color


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (7, "7 ns"),
        (420, "420 ns"),
        (999.6, "1 µs"),
        (1_234, "1.23 µs"),
        (12_345, "12.3 µs"),
        (999_600, "1 ms"),
        (5_000_000, "5 ms"),
        (1.5e9, "1.5 s"),
        (-2_500, "-2.5 µs"),
        (float("nan"), "–"),
    ],
)
def test_durations_have_the_unit_that_fits(ns, text):
    assert duration(ns) == text


def test_numbers_keep_three_digits_without_an_exponent():
    assert [digits(v) for v in (0, 0.01234, 1234.5, 0.5, 100.0)] == ["0", "0.0123", "1,234", "0.5", "100"]
    assert [percent(v) for v in (0.0421, 1.0, float("nan"))] == ["4.2 %", "100 %", "–"]


def test_long_label_is_folded_and_never_cut():
    label = "compose_project-memcached-server-1:eth0 xmit → host:vethab12cd rx"
    folded = fold(label, 28)
    assert longest([folded]) <= 28
    assert folded.replace("<br>", "").replace(" ", "") == label.replace(" ", "")
    assert fold("c1:eth0 xmit → host:vethab12cd rx", 60) == "c1:eth0 xmit → host:vethab12cd rx"
    assert fold("c1:eth0 xmit → host:vethab12cd rx", 24) == "c1:eth0 xmit<br>→ host:vethab12cd rx"


def test_fold_counts_characters_before_escaping():
    assert fold("<b>", 3) == "&lt;b&gt;"
    assert longest(["&lt;b&gt;"]) == 3
    assert paragraph("a <i> b", 3) == "a<br>&lt;i&gt;<br>b"


def test_rows_are_as_high_as_the_tallest_label():
    short, tall = tick_labels(["c1:eth0"] * 4), tick_labels(["a" * 100] * 4)
    assert rows_px(short, 36) == 4 * 36
    assert rows_px(tall, 36) >= 4 * 16 * (tall[0].count("<br>") + 1)


def test_figure_grows_with_its_rows_legend_and_caption():
    one = tables.make_breakdown(tables.make_hops(40))
    many = [one.assign(direction=one["direction"].astype(str) + str(i)) for i in range(3)]
    heights = [breakdown(one).layout.height, breakdown(tables.pd.concat(many)).layout.height]
    assert heights[1] > heights[0] + 14 * 20
    assert breakdown(one, caption="word " * 60).layout.margin.b > breakdown(one).layout.margin.b + 30


def test_margin_holds_the_widest_label():
    labels = tick_labels(["host:vethab12cd receive"])
    figure = frame(breakdown(tables.no_rows("breakdown")), title="x", labels=labels)
    assert figure.layout.margin.l > len(labels[0]) * 7
