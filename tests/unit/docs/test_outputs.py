"""Notebooks become Markdown whose outputs need no network."""

import json
import re

import nbformat.v4 as nb
import plotly.graph_objects as go
import pytest

from cmonlab import plot
from tests.support.site import SITE, site_module

outputs = site_module("outputs")


def _markdown(*results, source="run()") -> str:
    cell = nb.new_code_cell(source, outputs=list(results))
    return outputs.markdown(nb.new_notebook(cells=[nb.new_markdown_cell("# Title"), cell]))


def _result(**data: object):
    return nb.new_output("display_data", data={kind.replace("__", "/"): value for kind, value in data.items()})


def test_text_and_code_are_kept():
    assert _markdown() == "# Title\n\n```ipython3\nrun()\n```\n"


def test_fence_is_longer_than_those_in_the_code():
    assert "````ipython3\n" in _markdown(source='text = """\n```\n"""')


def test_figure_is_kept_as_data_without_its_template():
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="</script>"), layout={"height": 300, "title": "T"})
    bundle = {"application/vnd.plotly.v1+json": json.loads(plot.light(figure).to_json()), "text/html": "<script>"}
    page = _markdown(nb.new_output("display_data", data=bundle))
    (content,) = re.findall(r'<div class="figure">.*<script type="application/json">(.*)</script></div></div>', page)
    assert "</script>" not in content
    data = json.loads(content)
    assert data["data"][0]["name"] == "</script>"
    assert data["layout"]["height"] == 300 and "template" not in data["layout"]
    assert "min-height: 300px" in page


def test_richest_form_of_an_output_is_taken():
    page = _markdown(_result(text__html="<table></table>", text__plain="a b"))
    assert '<div class="output"><table></table></div>' in page
    assert "a b" not in page


def test_image_is_within_the_page():
    assert 'src="data:image/png;base64,AAAA"' in _markdown(_result(image__png="AAAA"))


@pytest.mark.parametrize("result", [nb.new_output("stream", text="\x1b[31ma < b\x1b[0m"), _result(text__plain="a < b")])
def test_plain_text_is_escaped(result):
    assert "<pre>a &lt; b</pre>" in _markdown(result)


def test_scripts_of_a_page_are_all_there(tmp_path):
    outputs.write_scripts(tmp_path)
    there = {path.name for path in [*tmp_path.iterdir(), *(SITE / "static").iterdir()]}
    assert set(outputs.SCRIPTS) <= there
    themes = json.loads((tmp_path / "templates.js").read_text().partition(" = ")[2].rstrip(";\n"))
    assert set(themes) == {"light", "dark"}
