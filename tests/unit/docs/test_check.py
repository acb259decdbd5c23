"""The check of the built site finds what is wrong with it."""

import pytest

from tests.support import ROOT
from tests.support.site import site_module

check = site_module("check")
problems = check.problems

FIGURE = '<div class="figure"><div class="plot"></div></div>'


def _site(tmp_path, **pages: str):
    """Write pages, of which the name ``notebooks__a`` means ``notebooks/a.html``."""
    for name, body in {"index": "", **pages}.items():
        path = tmp_path / (name.replace("__", "/") + ".html")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<html><body>{body}</body></html>")
    return tmp_path


def test_site_without_problems_passes(tmp_path):
    (tmp_path / "site.css").write_text("a { background: url(data:image/png;base64,AA) }")
    site = _site(
        tmp_path,
        index='<link rel="stylesheet" href="site.css"><a href="notebooks/a.html#end">a</a> <a href="https://x.org">x</a>',
        notebooks__a=f'{FIGURE}<h2 id="end">End</h2><dt id="cmonlab.record"></dt><a href="#end">end</a>',
    )
    assert problems(site, ["a"], ["cmonlab.record"]) == []


def test_notebook_without_figure_is_found(tmp_path):
    site = _site(tmp_path, notebooks__a="<p>text</p>", notebooks__b=FIGURE)
    assert problems(site, ["a", "b"]) == ["notebooks/a.html: has no figure"]


def test_notebook_without_page_is_found(tmp_path):
    assert problems(_site(tmp_path), ["a"]) == ["notebooks/a.html: has no figure"]


@pytest.mark.parametrize(
    "body",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<script src="//cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<img src="http://example.org/badge.svg">',
        '<img src="x.png" srcset="https://example.org/2x.png 2x">',
        '<iframe src="https://example.org"></iframe>',
        "<style>@import 'https://fonts.example/css';</style>",
        '<p style="background: url(https://example.org/a.png)">',
    ],
)
def test_file_from_elsewhere_is_found(tmp_path, body):
    (tmp_path / "x.png").touch()
    (found,) = problems(_site(tmp_path, index=body))
    assert found.startswith("index.html: loads ")


def test_font_from_elsewhere_in_a_style_sheet_is_found(tmp_path):
    (tmp_path / "fonts.css").write_text("@font-face { src: url('https://fonts.example/a.woff2') }")
    assert problems(_site(tmp_path)) == ["fonts.css: loads https://fonts.example/a.woff2"]


def test_broken_link_is_found(tmp_path):
    found = problems(_site(tmp_path, index='<a href="gone.html">gone</a><img src="gone.png">'))
    assert found == ["index.html: gone.html does not exist", "index.html: gone.png does not exist"]


def test_link_to_missing_heading_is_found(tmp_path):
    site = _site(tmp_path, index='<a href="page.html#here">1</a><a href="page.html#gone">2</a>', page='<h2 id="here">')
    assert problems(site) == ["index.html: page.html#gone names a place that its page does not have"]


def test_public_name_without_reference_is_found(tmp_path):
    site = _site(tmp_path, index='<dt id="cmonlab.record">')
    assert problems(site, names=["cmonlab.record", "cmonlab.open"]) == ["the reference lacks cmonlab.open"]


def test_folder_of_the_build_is_found(tmp_path):
    assert problems(_site(tmp_path, index=f"<code>{ROOT}/bpf</code>")) == [f"index.html: names {ROOT}"]


def test_missing_front_page_is_found(tmp_path):
    assert problems(tmp_path) == ["index.html: is missing"]


def test_public_names_are_those_of_the_package_and_of_its_modules():
    names = check.public_names()
    assert {"cmonlab.record", "cmonlab.plot.breakdown", "cmonlab.errors.RuleError"} <= set(names)
    assert not [name for name in names if "._" in name]


def test_reference_names_everything_public():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs/reference").glob("*.rst"))
    whole = ("cmonlab.errors.", "cmonlab.plot.", "cmonlab.schema.")  # documented as modules
    assert [name for name in check.public_names() if not name.startswith(whole) and f":: {name}\n" not in pages] == []
