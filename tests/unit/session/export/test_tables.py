"""Tables exported as CSV, Arrow and LaTeX, by suffix and from the command line."""

import json
import math
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from pyarrow import feather

from cmonlab import schema
from cmonlab.errors import ExportError, UnknownName
from cmonlab.schema import SESSION_TABLES
from cmonlab.session.export import latex
from cmonlab.session.session import Session
from tests.support.command import cmonlab, saved
from tests.support.events import bulk, manifest

__all__ = ["cmonlab", "saved"]


@pytest.fixture(scope="module")
def session():
    """A session of synthetic packets."""
    return Session(bulk(300), manifest())


@pytest.mark.parametrize("table", SESSION_TABLES)
def test_every_table_is_written_as_csv_and_arrow(session, tmp_path, table):
    frame = session.table(table)
    read = pd.read_csv(session.export(tmp_path / "t.csv", table=table))
    assert list(read.columns) == list(frame.columns) and len(read) == len(frame)
    content = feather.read_table(session.export(tmp_path / "t.arrow", table=table))
    pd.testing.assert_frame_equal(
        content.to_pandas(), frame.reset_index(drop=True), check_dtype=False, check_categorical=False
    )
    known = {column.name: column for column in schema.TABLES[table]}
    for field in content.schema:
        metadata = {name.decode(): value.decode() for name, value in field.metadata.items()}
        assert (metadata["unit"], metadata["meaning"]) == (known[field.name].unit, known[field.name].meaning)
    about = json.loads(content.schema.metadata[b"cmonlab"])
    assert (about["table"], about["journeys"], about["lost_events"]) == (table, 300, 0)


def test_latex_has_units_in_its_header_and_lost_events_in_its_caption(session, tmp_path):
    lines = session.export(tmp_path / "t.tex").read_text().splitlines()
    caption = next(line for line in lines if "caption" in line)
    assert "300 complete of 300 journeys" in caption and "0 lost events" in caption
    assert "tracing overhead: not measured" in caption
    header = lines[lines.index(r"    \toprule") + 1]
    assert r"p50 ($\mu$s) & p90 ($\mu$s) & p99 ($\mu$s) & p99.9 ($\mu$s)" in header and r"share (\%)" in header
    assert "low" not in header  # nothing was sampled out: the interval is the quantile itself
    body = lines[lines.index(r"    \midrule") + 1 : lines.index(r"    \bottomrule")]
    table = session.breakdown()
    assert len(body) == len(table)
    cells = body[0].removesuffix(r" \\").strip().split(" & ")
    assert cells[0] == r"c1 $\to$ c0" and len(cells) == header.count("&") + 1
    assert float(cells[4]) == pytest.approx(table["p50_ns"][0] / 1e3, rel=0.01)


def test_latex_escapes_text_from_outside():
    text = latex(pd.DataFrame({"place": [r"a_b%c\d{e}&f$g#h~i^j"]}), caption="50% of a_b", label="tab:x")
    assert r"a\_b\%c\textbackslash{}d\{e\}\&f\$g\#h\textasciitilde{}i\textasciicircum{}j \\" in text
    assert r"\caption{50\% of a\_b}" in text and r"\label{tab:x}" in text


def test_latex_rounds_numbers_to_significant_digits():
    frame = pd.DataFrame({
        "one_way_delay_ns": [12_345_678.0, math.nan, math.inf], "ts_ns": [1, 2, 3_000_000], "sport": [11211, 1, 2],
        "throughput_bps": [1.5e9, 2.25e8, 0.0], "packets": [1234, 0, 5], "complete": [True, False, True],
        "difference_ns": [-1500.0, 0.0, 1500.0],
    })  # fmt: skip
    rows = [line.strip() for line in latex(frame, "").splitlines()]
    at = rows.index(r"\toprule")
    header = (
        r"one way delay ($\mu$s) & ts (ns) & sport & throughput (Gbit/s) & packets & complete & difference ($\mu$s) \\"
    )
    assert rows[at + 1] == header
    assert rows[at + 3] == r"12,346 & 1 & 11211 & 1.500 & 1,234 & yes & $-1.50$ \\"
    assert rows[at + 4] == r"-- & 2 & 1 & 0.225 & 0 & no & 0.00 \\"
    assert rows[at + 5] == r"$\infty$ & 3,000,000 & 2 & 0.000 & 5 & yes & 1.50 \\"


def test_latex_refuses_a_table_that_is_too_long_to_print(session, tmp_path):
    with pytest.raises(ExportError, match="300 rows is too long"):
        session.export(tmp_path / "t.tex", table="journeys")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="optional: no pdflatex")
@pytest.mark.parametrize("table", ["breakdown", "loss", "ledger", "links", "rules", "throughput"])
def test_latex_compiles(session, tmp_path, table):
    session.export(tmp_path / "t.tex", table=table)
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{t}\end{document}"
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", document],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-2000:]


def test_wrong_names_and_existing_files_are_refused(session, tmp_path):
    with pytest.raises(UnknownName, match=r"did you mean '\.pcapng'"):
        session.export(tmp_path / "t.pcap")
    with pytest.raises(UnknownName, match=r"suffix of an export 'journeys'"):
        session.export(tmp_path / "journeys")
    with pytest.raises(UnknownName, match="did you mean 'breakdown'"):
        session.export(tmp_path / "t.csv", table="breakdwn")
    with pytest.raises(ExportError, match=r"write one of \.pcapng, \.perfetto-trace"):
        session.export(tmp_path / "t.csv", journeys=5)
    with pytest.raises(ExportError, match="cannot be written"):
        session.export(tmp_path / "absent" / "t.csv")
    (tmp_path / "t.csv").write_text("mine")
    for suffix in (".csv", ".arrow", ".tex", ".pcapng", ".perfetto-trace"):
        taken = tmp_path / f"taken{suffix}"
        taken.write_text("mine")
        with pytest.raises(ExportError, match="exists"):
            session.export(taken)
        assert taken.read_text() == "mine"


def test_command_exports_and_prints_the_file(cmonlab, saved, tmp_path):
    code, out, err = cmonlab("export", saved, "--to", tmp_path / "a.csv", "--table", "loss")
    assert (code, out, err) == (0, f"{tmp_path / 'a.csv'}\n", "") and "direction" in (tmp_path / "a.csv").read_text()
    code, out, err = cmonlab("export", saved, "--to", tmp_path / "a.pcapng", "--journeys", 10, "--packets", "hops")
    assert code == 0 and (tmp_path / "a.pcapng").stat().st_size > 1000
    code, out, err = cmonlab("export", saved, "--to", tmp_path / "a.csv")
    assert code == 1 and out == "" and err.startswith("error: ") and "exists" in err and "fix: " in err


def test_arrow_has_no_meanings_for_unknown_columns():
    from cmonlab.session.export.tables import with_meanings

    content = with_meanings(pd.DataFrame({"mine": np.arange(3)}), "breakdown")
    assert content.schema.field("mine").metadata is None and content.num_rows == 3
