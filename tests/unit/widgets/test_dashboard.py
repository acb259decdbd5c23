"""The dashboard without a browser: widgets, clicks and controls, with a simulated agent."""

import json
import subprocess
import sys
import threading

import numpy as np
import plotly.graph_objects as go
import pytest

import cmonlab as cm
from cmonlab.errors import CmonlabError, UnknownName
from cmonlab.widgets.figures import LiveFigure
from cmonlab.widgets.packed import packed
from cmonlab.widgets.selection import Selection
from cmonlab.widgets.status_bar import StatusBar
from tests.support.crowd import RULE, CrowdClient


def wait_until(condition, seconds=20.0):
    deadline, pause = threading.Event(), threading.Event()
    timer = threading.Timer(seconds, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.is_set(), f"not within {seconds:g} s"
            pause.wait(0.02)
    finally:
        timer.cancel()


@pytest.fixture
def client():
    return CrowdClient(6)


@pytest.fixture
def dashboard(client):
    """A dashboard whose browser draws every frame at once."""
    with cm.dashboard(client, hz=10) as dashboard:
        dashboard._status_bar.ready = lambda: True
        wait_until(lambda: dashboard._matrix._shown is not None)
        yield dashboard


def click(figure, number, index):
    """Send the message that a page sends for a click on a point."""
    figure.receive({"clicked": figure.figure["data"][number]["customdata"][index]})


def thread_names():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("cmonlab-dashboard")}


def test_a_click_selects_an_edge_a_container_or_a_pair(dashboard):
    graph, matrix = dashboard._graph._shown.widget, dashboard._matrix._shown.widget
    edges = graph.figure["data"][0]["customdata"]
    at = [list(row)[1] for row in edges].index("c2")
    click(graph, 0, at)
    assert dashboard._detail.selection == Selection("edge", "c2", "host:br-crowd")
    wait_until(lambda: "c2 → host:br-crowd" in dashboard._detail.title.value)
    nodes = next(n for n, trace in enumerate(graph.figure["data"]) if trace.get("name") == "container")
    click(graph, nodes, 1)
    assert dashboard._detail.selection == Selection("node", "c1")
    matrix.receive({"clicked": ["pair", "c3", "c0"]})
    assert dashboard._detail.selection == Selection("pair", "c3", "c0")
    wait_until(lambda: "c3 → c0" in dashboard._detail.title.value)
    series, segments = dashboard._detail.series.widget, dashboard._detail.segments.widget
    wait_until(lambda: any(trace["visible"] is True and len(trace["x"]) > 2 for trace in series.figure["data"]))
    wait_until(lambda: sum(len(trace.get("x", ())) for trace in segments.figure["data"]) == 7)


def test_the_detail_pane_shows_drop_reasons(dashboard, client):
    client.dropped = 3
    dashboard.look_at(Selection("pair", "c1", "c0"))
    wait_until(lambda: "NOT_SPECIFIED" in dashboard._detail.drops.value)
    dashboard.look_at(Selection("pair", "c2", "c3"))
    wait_until(lambda: "no packet" in dashboard._detail.drops.value)


def test_controls_pause_change_colours_and_mark(dashboard):
    controls = dashboard._controls
    wait_until(lambda: controls._rule.value == RULE.name)
    assert controls.form.rules == [RULE]  # the form shows the rule, to be changed there
    controls._pause.value = True
    wait_until(lambda: any("paused" in item for _, items in dashboard._status_bar.groups for item in items))
    graph = dashboard._graph._shown.widget
    before, frame = packed(graph.figure, []), dashboard.frames
    wait_until(lambda: dashboard.frames > frame + 5)
    assert packed(graph.figure, []) == before
    controls._pause.value = False
    controls._colors.value = "Throughput"
    wait_until(lambda: "Throughput" in graph.figure["layout"]["coloraxis"]["colorbar"]["title"]["text"])
    dashboard.look_at(Selection("pair", "c1", "c0"))
    controls._note.value = "load <begins>"
    controls._mark.click()
    assert dashboard.marks["note"].tolist() == ["load <begins>"]
    layout = dashboard._detail.series.widget.figure["layout"]
    wait_until(lambda: len(layout.get("shapes", ())) == 1)
    assert layout["annotations"][0]["text"] == "load &lt;begins&gt;"


def test_the_keyboard_selects_what_clicks_select(dashboard):
    box = dashboard._controls._selected
    wait_until(lambda: "c1 → c0" in box.options and "c1" in box.options)
    box.value = "c1 → c0"
    assert dashboard._detail.selection == Selection("pair", "c1", "c0")
    box.value = "nobody"
    assert "no &#x27;nobody&#x27;" in dashboard._controls._message.value
    assert dashboard._detail.selection == Selection("pair", "c1", "c0")


def test_an_applied_rule_ends_with_the_dashboard(client):
    with cm.dashboard(client, rule="udp", hz=10) as dashboard:
        assert dashboard.own_rules == {"dashboard"}
        dashboard._controls.form.show(cm.Rule(name="mine", match="tcp", mode="aggregate"))
        dashboard._controls.form._apply.click()
        wait_until(lambda: "active now: mine" in dashboard._controls._message.value)
        assert {rule.name for rule in client.written_rules()} == {RULE.name, "dashboard", "mine"}
        wait_until(lambda: any("mine (this dashboard" in label for label, _ in dashboard._controls._rule.options))
        assert dashboard.model.rule == "mine"
    assert [rule.name for rule in client.written_rules()] == [RULE.name]


def test_an_error_of_a_rule_is_one_message_and_windows_go_on(dashboard, client):
    def refuse(rules, replace=False):
        raise cm.errors.RuleError("rule mine cannot be active", why="it is <odd>", fix="correct it")

    client.apply = refuse
    dashboard._controls.form.show(cm.Rule(name="mine", match="tcp", mode="aggregate"))
    dashboard._controls.form._apply.click()
    wait_until(lambda: "it is &lt;odd&gt;" in dashboard._controls._message.value)
    assert "role='alert'" in dashboard._controls._message.value
    windows = dashboard.model.windows
    wait_until(lambda: dashboard.model.windows > windows)


def test_a_recording_contains_the_marks_of_its_time(dashboard):
    record = dashboard.client.record

    def recorded(seconds, progress=None):
        dashboard.mark("meanwhile")
        return record(seconds, progress)

    dashboard.mark("before")
    dashboard.client.record = recorded
    dashboard._controls._record.click()
    wait_until(lambda: "dashboard.session" in dashboard._controls._message.value)
    assert [mark["note"] for mark in dashboard.session.manifest["marks"]] == ["meanwhile"]


def test_the_dashboard_says_that_there_are_no_packets(client):
    client.silent = True
    with cm.dashboard(client, hz=10) as dashboard:
        wait_until(lambda: dashboard.frames > 1)
        assert "No packet yet" in dashboard._graph.widget.children[0].value
        wait_until(lambda: any("no packets" in item for _, items in dashboard._status_bar.groups for item in items))


def test_the_dashboard_follows_an_agent_that_goes_and_comes_back(dashboard, client):
    client.gone = True
    wait_until(lambda: any("gone" in item for _, items in dashboard._status_bar.groups for item in items))
    windows = dashboard.model.windows
    client.gone = False
    wait_until(lambda: dashboard.model.windows > windows + 2 and not dashboard.model.agent_status.problems)


def test_missing_windows_are_reported_while_the_agent_answers(client):
    client.broken = True
    with cm.dashboard(client, hz=10) as dashboard:
        wait_until(lambda: any("no windows" in item for _, items in dashboard._status_bar.groups for item in items))
        wait_until(lambda: "the answer is too long" in dashboard._graph.widget.children[0].value)
        assert dashboard.model.agent_status.status
        client.broken = False
        wait_until(lambda: dashboard.model.windows > 2 and not dashboard.model.agent_status.problems)


def test_close_is_idempotent_and_leaves_nothing(client):
    before = thread_names()
    first = cm.dashboard(client)
    second = cm.dashboard(client)
    assert "closed" in repr(first) and len(thread_names() - before) == 3
    second.close()
    second.close()
    assert thread_names() == before
    assert [rule.name for rule in client.written_rules()] == [RULE.name]


def test_a_kernel_that_ends_closes_its_dashboard():
    """Without close(), the applied rule is removed all the same, and no thread keeps the process."""
    code = (
        "import cmonlab as cm\nfrom tests.support.crowd import CrowdClient\n"
        "class Printing(CrowdClient):\n    def remove(self, *names): print('removed', *names, flush=True)\n"
        "dashboard = cm.dashboard(Printing(4), rule='udp')\nprint('open', flush=True)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout.split("\n")[:2]) == (0, ["open", "removed dashboard"]), run.stderr


@pytest.mark.parametrize(("wrong", "error"), [({"theme": "grey"}, UnknownName), ({"hz": 50}, CmonlabError)])
def test_wrong_arguments_are_refused_and_leave_nothing(client, wrong, error):
    before = thread_names()
    with pytest.raises(error):
        cm.dashboard(client, **wrong)
    with pytest.raises(CmonlabError, match="no dashboard of a str"):
        cm.dashboard("lab")
    assert thread_names() == before


def test_a_busy_browser_gets_fewer_frames():
    status_bar = StatusBar()
    assert status_bar.ready()
    status_bar.show([])
    status_bar.show([])
    assert not status_bar.ready() and status_bar.skipped == 1
    status_bar.receive({"seen": 1})
    assert status_bar.ready()
    status_bar.show([])
    assert not status_bar.ready()
    status_bar.receive({"seen": -1})  # a page that was just opened
    assert status_bar.ready() and status_bar.frame == status_bar.seen == 3


def test_the_dark_theme_applies_to_all_parts(client):
    with cm.dashboard(client, theme="dark", hz=10) as dashboard:
        wait_until(lambda: dashboard._matrix._shown is not None)
        paper = cm.plot.template("dark").layout.paper_bgcolor
        shown = (dashboard._graph._shown, dashboard._matrix._shown, dashboard._detail.series)
        assert {one.widget.figure["layout"]["template"]["layout"]["paper_bgcolor"] for one in shown} == {paper}
        assert f"background: {paper}" in dashboard.widget.children[0].value


def test_packed_arrays_are_bytes_and_all_numbers_are_valid_json():
    buffers = []
    texts = np.array([["", "a"], ["", ""]], object)
    table, names, axis = np.array([[1.0, np.nan], [np.inf, 4]]), np.array(["a", "b"], object), (float("inf"), 1.5)
    figure = {"z": table, "x": np.arange(3), "cmin": np.float64("nan"), "text": texts, "names": names, "y": axis}
    sent = packed(figure, buffers)
    json.dumps(sent, allow_nan=False)
    assert (sent["cmin"], sent["names"], sent["y"]) == (None, ["a", "b"], [None, 1.5])
    z = np.frombuffer(buffers[sent["z"]["packed"]], "<f4").reshape(sent["z"]["shape"])
    assert np.array_equal(z, [[1, np.nan], [np.nan, 4]], equal_nan=True)
    assert np.frombuffer(buffers[sent["x"]["packed"]], "<f8").tolist() == [0, 1, 2]
    assert sent["text"]["texts"] == ["a"] and np.frombuffer(buffers[sent["text"]["at"]["packed"]], "<i4").tolist() == [
        1
    ]


def test_a_figure_sends_differences_only_and_a_late_page_gets_all():
    sent = []
    shown = LiveFigure(go.Figure().add_scatter(x=[1], y=[1]), "light")
    shown.widget.send = lambda content, buffers=None: sent.append(content)
    assert shown.update([{"y": np.array([2.0]), "marker": {"size": 3}}], {"xaxis": {"range": [0, 1]}})
    assert not shown.update([{"y": np.array([2.0]), "marker": {"size": 3}}], {"xaxis": {"range": [0, 1]}})
    assert shown.update([{"y": np.array([2.0]), "marker": {"size": 4}}])
    assert sent[1:] == [{"traces": [[0, {"marker.size": 4}]], "layout": {}}]
    shown.widget.receive({"request": "figure"})
    (trace,) = sent[2]["figure"]["data"]
    assert trace["marker"] == {"size": 4} and sent[2]["figure"]["layout"]["xaxis"]["range"] == [0, 1]


def test_importing_the_module_does_not_shadow_the_function():
    import cmonlab.widgets.dashboard

    assert cm.dashboard is cmonlab.widgets.dashboard.dashboard
