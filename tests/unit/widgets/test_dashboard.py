"""The dashboard without a browser: widgets, clicks and controls, of an agent that is made up."""

import json
import subprocess
import sys
import threading

import numpy as np
import plotly.graph_objects as go
import pytest

import cmonlab as cm
from cmonlab.errors import CmonlabError, UnknownName
from cmonlab.widgets.figures import Shown
from cmonlab.widgets.packed import packed
from cmonlab.widgets.selection import Selection
from cmonlab.widgets.strip import Strip
from tests.support.crowd import RULE, CrowdClient


def until(condition, seconds=20.0):
    deadline, pause = threading.Event(), threading.Event()
    timer = threading.Timer(seconds, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.is_set(), "it never came to be"
            pause.wait(0.02)
    finally:
        timer.cancel()


@pytest.fixture
def client():
    return CrowdClient(6)


@pytest.fixture
def dashboard(client):
    """A dashboard whose browser has always drawn what was sent."""
    with cm.dashboard(client, hz=10) as dashboard:
        dashboard._strip.ready = lambda: True
        until(lambda: dashboard._matrix._shown is not None)
        yield dashboard


def click(figure, number, index):
    """Do what a page does for a click on a point."""
    figure.hear({"clicked": figure.figure["data"][number]["customdata"][index]})


def names():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("cmonlab-dashboard")}


def test_a_click_on_an_edge_a_container_and_a_pair(dashboard):
    graph, matrix = dashboard._graph._shown.widget, dashboard._matrix._shown.widget
    edges = graph.figure["data"][0]["customdata"]
    at = [list(row)[1] for row in edges].index("c2")
    click(graph, 0, at)
    assert dashboard._detail.selection == Selection("edge", "c2", "host:br-crowd")
    until(lambda: "c2 → host:br-crowd" in dashboard._detail.title.value)
    nodes = next(n for n, trace in enumerate(graph.figure["data"]) if trace.get("name") == "container")
    click(graph, nodes, 1)
    assert dashboard._detail.selection == Selection("node", "c1")
    matrix.hear({"clicked": ["pair", "c3", "c0"]})
    assert dashboard._detail.selection == Selection("pair", "c3", "c0")
    until(lambda: "c3 → c0" in dashboard._detail.title.value)
    series, segments = dashboard._detail.series.widget, dashboard._detail.segments.widget
    until(lambda: any(trace["visible"] is True and len(trace["x"]) > 2 for trace in series.figure["data"]))
    until(lambda: sum(len(trace.get("x", ())) for trace in segments.figure["data"]) == 7)


def test_drop_reasons_are_in_the_detail(dashboard, client):
    client.dropped = 3
    dashboard.look_at(Selection("pair", "c1", "c0"))
    until(lambda: "NOT_SPECIFIED" in dashboard._detail.drops.value)
    dashboard.look_at(Selection("pair", "c2", "c3"))
    until(lambda: "no packet" in dashboard._detail.drops.value)


def test_pause_marks_and_colours(dashboard):
    controls = dashboard._controls
    until(lambda: controls._rule.value == RULE.name)
    assert controls.form.rules == [RULE]  # which may be changed from there
    controls._pause.value = True
    until(lambda: any("paused" in item for _, items in dashboard._strip.groups for item in items))
    graph = dashboard._graph._shown.widget
    before, frame = packed(graph.figure, []), dashboard.frames
    until(lambda: dashboard.frames > frame + 5)
    assert packed(graph.figure, []) == before
    controls._pause.value = False
    controls._colors.value = "Throughput"
    until(lambda: "Throughput" in graph.figure["layout"]["coloraxis"]["colorbar"]["title"]["text"])
    dashboard.look_at(Selection("pair", "c1", "c0"))
    controls._note.value = "load <begins>"
    controls._mark.click()
    assert dashboard.marks["note"].tolist() == ["load <begins>"]
    layout = dashboard._detail.series.widget.figure["layout"]
    until(lambda: len(layout.get("shapes", ())) == 1)
    assert layout["annotations"][0]["text"] == "load &lt;begins&gt;"


def test_keys_reach_what_clicks_do(dashboard):
    look = dashboard._controls._look
    until(lambda: "c1 → c0" in look.options and "c1" in look.options)
    look.value = "c1 → c0"
    assert dashboard._detail.selection == Selection("pair", "c1", "c0")
    look.value = "nobody"
    assert "no &#x27;nobody&#x27;" in dashboard._controls._message.value
    assert dashboard._detail.selection == Selection("pair", "c1", "c0")


def test_a_rule_is_applied_and_goes_with_the_dashboard(client):
    with cm.dashboard(client, rule="udp", hz=10) as dashboard:
        assert dashboard.own_rules == {"dashboard"}
        dashboard._controls.form.show(cm.Rule(name="mine", match="tcp", mode="aggregate"))
        dashboard._controls.form._apply.click()
        until(lambda: "active now: mine" in dashboard._controls._message.value)
        assert {rule.name for rule in client.written_rules()} == {RULE.name, "dashboard", "mine"}
        until(lambda: any("mine (this dashboard" in label for label, _ in dashboard._controls._rule.options))
        assert dashboard.model.rule == "mine"
    assert [rule.name for rule in client.written_rules()] == [RULE.name]


def test_an_error_of_a_rule_is_one_message_and_nothing_is_lost(dashboard, client):
    def refuse(rules, replace=False):
        raise cm.errors.RuleError("rule mine cannot be active", why="it is <odd>", fix="mend it")

    client.apply = refuse
    dashboard._controls.form.show(cm.Rule(name="mine", match="tcp", mode="aggregate"))
    dashboard._controls.form._apply.click()
    until(lambda: "it is &lt;odd&gt;" in dashboard._controls._message.value)
    assert "role='alert'" in dashboard._controls._message.value
    windows = dashboard.model.windows
    until(lambda: dashboard.model.windows > windows)


def test_a_recording_has_the_marks_of_its_time(dashboard):
    record = dashboard.client.record

    def recorded(seconds, progress=None):
        dashboard.mark("meanwhile")
        return record(seconds, progress)

    dashboard.mark("before")
    dashboard.client.record = recorded
    dashboard._controls._record.click()
    until(lambda: "dashboard.session" in dashboard._controls._message.value)
    assert [mark["note"] for mark in dashboard.session.manifest["marks"]] == ["meanwhile"]


def test_without_packets_it_says_so(client):
    client.silent = True
    with cm.dashboard(client, hz=10) as dashboard:
        until(lambda: dashboard.frames > 1)
        assert "No packet yet" in dashboard._graph.widget.children[0].value
        until(lambda: any("no packets" in item for _, items in dashboard._strip.groups for item in items))


def test_an_agent_that_goes_and_comes_back(dashboard, client):
    client.gone = True
    until(lambda: any("gone" in item for _, items in dashboard._strip.groups for item in items))
    windows = dashboard.model.windows
    client.gone = False
    until(lambda: dashboard.model.windows > windows + 2 and not dashboard.model.told.troubles)


def test_windows_that_cannot_be_had_are_told_while_the_agent_answers(client):
    client.broken = True
    with cm.dashboard(client, hz=10) as dashboard:
        until(lambda: any("no windows" in item for _, items in dashboard._strip.groups for item in items))
        until(lambda: "the answer is too long" in dashboard._graph.widget.children[0].value)
        assert dashboard.model.told.status
        client.broken = False
        until(lambda: dashboard.model.windows > 2 and not dashboard.model.told.troubles)


def test_closing_leaves_nothing_and_may_be_done_twice(client):
    before = names()
    first = cm.dashboard(client)
    second = cm.dashboard(client)
    assert "closed" in repr(first) and len(names() - before) == 3
    second.close()
    second.close()
    assert names() == before
    assert [rule.name for rule in client.written_rules()] == [RULE.name]


def test_a_kernel_that_ends_takes_the_dashboard_with_it():
    """Nobody called close(): what was applied is taken back, and no thread keeps the process."""
    code = (
        "import cmonlab as cm\nfrom tests.support.crowd import CrowdClient\n"
        "class Told(CrowdClient):\n    def remove(self, *names): print('removed', *names, flush=True)\n"
        "dashboard = cm.dashboard(Told(4), rule='udp')\nprint('open', flush=True)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout.split("\n")[:2]) == (0, ["open", "removed dashboard"]), run.stderr


@pytest.mark.parametrize(("wrong", "error"), [({"theme": "grey"}, UnknownName), ({"hz": 50}, CmonlabError)])
def test_what_it_cannot_be_is_refused_and_leaves_nothing(client, wrong, error):
    before = names()
    with pytest.raises(error):
        cm.dashboard(client, **wrong)
    with pytest.raises(CmonlabError, match="no dashboard of a str"):
        cm.dashboard("lab")
    assert names() == before


def test_a_browser_that_is_busy_gets_fewer_frames():
    strip = Strip()
    assert strip.ready()
    strip.show([])
    strip.show([])
    assert not strip.ready() and strip.skipped == 1
    strip.hear({"seen": 1})
    assert strip.ready()
    strip.show([])
    assert not strip.ready()
    strip.hear({"seen": -1})  # a page that has just been opened
    assert strip.ready() and strip.frame == strip.seen == 3


def test_dark_is_dark_all_over(client):
    with cm.dashboard(client, theme="dark", hz=10) as dashboard:
        until(lambda: dashboard._matrix._shown is not None)
        paper = cm.plot.template("dark").layout.paper_bgcolor
        shown = (dashboard._graph._shown, dashboard._matrix._shown, dashboard._detail.series)
        assert {one.widget.figure["layout"]["template"]["layout"]["paper_bgcolor"] for one in shown} == {paper}
        assert f"background: {paper}" in dashboard.widget.children[0].value


def test_arrays_go_as_bytes_and_no_number_is_one_that_json_has_not():
    buffers = []
    texts = np.array([["", "a"], ["", ""]], object)
    table, names, axis = np.array([[1.0, np.nan], [np.inf, 4]]), np.array(["a", "b"], object), (float("inf"), 1.5)
    figure = {"z": table, "x": np.arange(3), "cmin": np.float64("nan"), "text": texts, "names": names, "y": axis}
    told = packed(figure, buffers)
    json.dumps(told, allow_nan=False)
    assert (told["cmin"], told["names"], told["y"]) == (None, ["a", "b"], [None, 1.5])
    z = np.frombuffer(buffers[told["z"]["packed"]], "<f4").reshape(told["z"]["shape"])
    assert np.array_equal(z, [[1, np.nan], [np.nan, 4]], equal_nan=True)
    assert np.frombuffer(buffers[told["x"]["packed"]], "<f8").tolist() == [0, 1, 2]
    assert told["text"]["texts"] == ["a"] and np.frombuffer(buffers[told["text"]["at"]["packed"]], "<i4").tolist() == [
        1
    ]


def test_only_what_differs_is_sent_and_a_late_page_gets_the_whole():
    sent = []
    shown = Shown(go.Figure().add_scatter(x=[1], y=[1]), "light")
    shown.widget.send = lambda content, buffers=None: sent.append(content)
    assert shown.update([{"y": np.array([2.0]), "marker": {"size": 3}}], {"xaxis": {"range": [0, 1]}})
    assert not shown.update([{"y": np.array([2.0]), "marker": {"size": 3}}], {"xaxis": {"range": [0, 1]}})
    assert shown.update([{"y": np.array([2.0]), "marker": {"size": 4}}])
    assert sent[1:] == [{"traces": [[0, {"marker.size": 4}]], "layout": {}}]
    shown.widget.hear({"want": "whole"})
    (trace,) = sent[2]["whole"]["data"]
    assert trace["marker"] == {"size": 4} and sent[2]["whole"]["layout"]["xaxis"]["range"] == [0, 1]


def test_the_function_stays_the_function():
    import cmonlab.widgets.dashboard

    assert cm.dashboard is cmonlab.widgets.dashboard.dashboard
