"""The HTML report: self-contained, escaped, written atomically."""

import errno
import json
import os
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from cmonlab import plot
from cmonlab.errors import SessionError
from cmonlab.session.report.page import MOST_ROWS, RunReport, write_report
from tests.support import tables

EVIL = "<script>alert(1)</script>"
CLOSING = "</script><img src=http://evil.example/x>"


class Page(HTMLParser):
    """Elements, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.scripts, self._inside = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = [tag, dict(attrs)]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = []

    def handle_data(self, data):
        if self._inside and self._inside[0] == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def run(title="memcached", **parts):
    hops = tables.make_hops(60)
    table = tables.make_breakdown(hops)
    figures = {"Breakdown": plot.breakdown(table), "Distribution": plot.ecdf(hops)}
    return RunReport(
        **{
            "title": title,
            "summary": [("kernel", "6.1"), ("lost events", "0")],
            "figures": figures,
            "tables": {"breakdown": table},
            "notes": ["a note"],
            **parts,
        }
    )


def write(tmp_path, *runs):
    return Page(write_report(tmp_path / "report.html", runs).read_text("utf-8"))


def test_page_loads_nothing(tmp_path):
    page = write(tmp_path, run(notes=[CLOSING]))
    for tag, attrs in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "base"), tag
        assert not {"src", "srcset", "data", "action", "poster"} & attrs.keys(), (tag, attrs)
        assert attrs.get("href", "#").startswith("#")
    text = (tmp_path / "report.html").read_text("utf-8")
    styles = re.findall(r"<style>(.*?)</style>", text[: text.index("<body>")], re.S)
    assert styles and not re.search(r"@import|url\(", "".join(styles))
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "http" not in policy


def test_page_contains_plotly_once(tmp_path):
    page = write(tmp_path, run(), run("iperf3"))
    assert sum("plotly.js v" in script for script in page.scripts) == 1


def test_names_from_outside_are_escaped_everywhere(tmp_path):
    table = pd.DataFrame({EVIL: [EVIL, CLOSING], "n": [1, 2]})
    hops = tables.make_hops(4).assign(segment=CLOSING)
    page = write(
        tmp_path,
        run(EVIL, summary=[(EVIL, CLOSING)], notes=[EVIL], tables={EVIL: table}, figures={CLOSING: plot.ecdf(hops)}),
    )
    harmless = write(tmp_path, run(figures={"Distribution": plot.ecdf(tables.make_hops(4))}))
    assert len(page.all("script")) == len(harmless.all("script"))
    assert not page.all("img")
    assert page.texts.count(EVIL) >= 5


def test_page_contains_figures_unchanged(tmp_path):
    section = run()
    page = write(tmp_path, section)
    data = [script for script, attrs in zip(page.scripts, page.all("script"), strict=True) if attrs.get("type")]
    figures = [json.loads(text) for text in data if '"layout"' in text and '"light"' not in text]
    assert figures == [json.loads(figure.to_json()) for figure in section.figures.values()]


def test_contents_link_to_every_run_figure_and_table(tmp_path):
    page = write(tmp_path, run(), run("iperf3"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    links = [attrs["href"][1:] for attrs in page.all("a")]
    assert len(ids) == len(set(ids))
    assert set(links) <= set(ids)
    assert {"run-1", "run-1-figure-2", "run-2", "run-2-table-1"} <= set(links)


def test_head_shows_only_what_all_runs_share(tmp_path):
    write(tmp_path, run(), run("b", summary=[("kernel", "6.1"), ("machine", "other")]))
    head = re.search(r"<header>.*?</header>", (tmp_path / "report.html").read_text("utf-8"), re.S)[0]
    assert "6.1" in head and "other" not in head and "written" in head


def test_tables_format_numbers_and_say_how_many_rows_they_leave_out(tmp_path):
    rows = MOST_ROWS + 7
    table = pd.DataFrame({"n": range(10_000, 10_000 + rows), "share": 0.123456, "complete": True, "x": float("nan")})
    page = write(tmp_path, run(tables={"many": table, "none": tables.no_rows("drops")}, figures={}))
    assert page.texts.count("0.1235") == MOST_ROWS == page.texts.count("yes") == page.texts.count("–")
    assert "10,000" in page.texts
    assert f" the first {MOST_ROWS:,} of {rows:,} rows" in page.texts and " 0 rows" in page.texts


def test_identifiers_have_no_separators_of_thousands(tmp_path):
    page = write(tmp_path, run(tables={"drops": tables.make_drops(1)}, figures={}))
    assert {"45678", "11211", "-1", "1,000,000,000,000"} <= set(page.texts)


def test_table_of_the_schema_explains_its_columns(tmp_path):
    heads = {attrs["title"] for attrs in write(tmp_path, run()).all("th")}
    assert "99.9th percentile" in heads


def test_report_without_runs_says_so(tmp_path):
    assert "This report holds no run." in write(tmp_path).texts


def test_full_disk_leaves_the_old_report_and_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SessionError, match=r"No space left[\s\S]*fix: free space"):
        write_report(path, [])
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_impossible_path_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="fix: name a path"):
        write_report(tmp_path / "file" / "report.html", [])
    with pytest.raises(SessionError, match="fix: name a file"):
        write_report(tmp_path, [])


def test_missing_directories_are_created_and_the_file_is_readable(tmp_path):
    path = write_report(tmp_path / "a" / "b" / "report.html", [])
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
