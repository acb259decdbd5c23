"""The dashboard as a web page, with live traffic."""

import time
from pathlib import Path

import pytest

from .dashboard_page import click, detail, frame, lines, ready, status_item
from .servers import Dashboard, wait_until
from .watch import complaints, visited

pytestmark = pytest.mark.docker

#: The default UDP rate of iperf3, with the IP and UDP headers of its datagrams of 1,448 bytes.
SENT_MBPS = 200 * (1448 + 28) / 1448


@pytest.fixture(scope="module")
def dashboard(engine, tmp_path_factory):
    path = tmp_path_factory.mktemp("dashboard")
    with Dashboard(path, "--template", "bridge", "--containers", "4", "--workload", "iperf-udp") as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def page(dashboard, browser):
    with visited(browser, dashboard.url) as page:
        yield ready(page)


def test_the_status_bar_shows_the_traffic(page):
    wait_until(
        lambda: abs(status_item(page, "throughput") - SENT_MBPS) < 0.2 * SENT_MBPS, 60, f"about {SENT_MBPS:.0f} Mbit/s"
    )
    # Each datagram is a packet of 1,476 bytes.
    mbps, each = status_item(page, "throughput"), status_item(page, "packets/s")
    assert each * 1476 * 8 / 1e6 == pytest.approx(mbps, rel=0.25)
    assert status_item(page, "events/s") == 0  # in mode aggregate
    assert status_item(page, "lost events") == 0
    assert 0 < status_item(page, "tracing overhead") < 100
    assert 20 < status_item(page, "memory") < 4000


def test_frames_are_drawn_continuously(page):
    before, began = frame(page), time.monotonic()
    wait_until(lambda: time.monotonic() > began + 5 and frame(page) >= before + 5, 60, "frames are drawn")
    assert complaints(page) == []


def test_a_click_on_an_edge_shows_its_details(page):
    click(page, "topology", "edge", "c0", "host:br-")
    wait_until(lambda: "c0 — host:br-" in detail(page), 20, "the pane is about the edge")
    series, _ = wait_until(lambda: (found := lines(page))[0] and len(found[0][0]["y"]) > 3 and found, 30, "its series")
    # The busy direction, in bit/s.
    into = max(series, key=lambda line: max(filter(None, line["y"]), default=0))
    assert "c0" in into["name"]
    last = sorted(value for value in into["y"][-8:] if value)
    assert last[len(last) // 2] / 1e6 == pytest.approx(SENT_MBPS, rel=0.25)
    assert into["x"] == sorted(into["x"])
    segments = wait_until(lambda: lines(page)[1], 20, "its breakdown, which is drawn less often")
    assert all(value > 0 for value in segments[0]["x"])


def test_a_click_on_a_pair_shows_its_details(page):
    click(page, "matrix", "pair", "c1", "c0")
    wait_until(lambda: "c1 → c0" in detail(page), 20, "the pane is about the pair")
    wait_until(lambda: lines(page)[0], 20, "its series")


def test_the_view_can_be_paused_and_marked(page):
    page.get_by_placeholder("note").fill("now")
    page.get_by_role("button", name="Mark").click()
    page.get_by_text("marked: now").wait_for()
    wait_until(lambda: page.locator(".cmonlab-detail .annotation-text", has_text="now").count(), 20, "the mark")
    page.get_by_role("button", name="Pause").click()
    page.locator('.cmonlab-item[data-name="view"]', has_text="paused").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.locator('.cmonlab-item[data-name="view"]', has_text="live").wait_for()


def test_the_rule_form_writes_yaml_and_its_rule_is_active(page, dashboard):
    page.get_by_text("Change the rule, or add one").click()
    form = page.locator(".cmonlab-rule-form")
    form.get_by_label("Name").fill("web")
    form.get_by_label("Packets").fill("udp port 5201")
    form.get_by_label("Mode").select_option("aggregate – histograms in the kernel")
    text = form.locator(".cmonlab-yaml textarea")
    parts = ("name: web", "match: udp port 5201", "mode: aggregate")
    wait_until(lambda: all(part in text.input_value() for part in parts), 10, "the form writes YAML")
    form.get_by_label("File").fill("web.yaml")
    form.get_by_role("button", name="Save").click()
    form.get_by_text("web.yaml is written").wait_for()
    written = Path(dashboard.log.parent, "web.yaml").read_text()
    assert written.strip() == text.input_value().strip()
    form.get_by_role("button", name="Apply").click()
    page.get_by_text("active now: web").wait_for(timeout=30_000)
    page.get_by_text("Change the rule, or add one").click()
