"""A topology in a browser: a click reports an edge or a node, and a new template changes the colours."""

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from cmonlab import plot
from tests.support import tables

from .watch import visited

LINKS = tables.make_topology(200)
CLICKED = """
window.clicked = [];
const graph = document.getElementById("graph");
graph.on("plotly_click", event => window.clicked.push(event.points[0].customdata));
"""
#: Position of a point on the screen: the middle of an edge, or a node.
PLACE = """([trace, point]) => {
  const graph = document.getElementById("graph"), box = graph.getBoundingClientRect();
  const { xaxis, yaxis } = graph._fullLayout, { x, y } = graph._fullData[trace];
  return [box.x + xaxis._offset + xaxis.l2p(x[point]), box.y + yaxis._offset + yaxis.l2p(y[point])];
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serve the page with the graph on loopback; return its address."""
    folder = tmp_path_factory.mktemp("graph")
    figure = plot.topology(LINKS, tables.make_edges(LINKS))
    figure.write_html(folder / "index.html", div_id="graph", post_script=CLICKED, include_plotlyjs=True)
    (folder / "favicon.ico").touch()  # browsers ask for it
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def graph(browser, address):
    with visited(browser, address) as page:
        page.wait_for_selector("#graph .main-svg .points path", state="attached")
        yield page


# Each click has a new page: two clicks in a row are a double click, which resets the axes.
@pytest.mark.parametrize(
    ("trace", "point", "what"), [(0, 17, ["edge", "c17", "host:br-1a2b"]), (3, 100, ["node", "c100", ""])]
)
def test_a_click_reports_the_edge_or_the_node(graph, trace, point, what):
    graph.mouse.move(*graph.evaluate(PLACE, [trace, point]))
    graph.wait_for_function("name => document.querySelector('.hoverlayer').textContent.includes(name)", arg=what[1])
    graph.mouse.down()
    graph.mouse.up()
    graph.wait_for_function("window.clicked.length > 0")
    assert graph.evaluate("window.clicked") == [what]


def test_colours_change_with_the_template_alone(graph):
    lines = "[...document.querySelectorAll('.shapelayer path')].map(path => path.style.stroke)"
    light = set(graph.evaluate(lines))
    dark = plot.template("dark").to_plotly_json()
    graph.evaluate("template => Plotly.relayout('graph', { template })", json.loads(json.dumps(dark, default=list)))
    changed = set(graph.evaluate(lines))
    shades = {shape.line.color.replace(",", ", ").replace(",  ", ", ") for shape in plot.template("dark").layout.shapes}
    assert len(light) > 8 and len(changed & light) <= 1  # both themes have the same grey for no traffic
    assert len(changed & shades) > 8
