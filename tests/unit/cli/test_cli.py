"""The command line, without root: what it prints, refuses, and how it ends."""

import csv
import io
import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from cmonlab.cli import app, console, demo
from cmonlab.cli.record import check_replaceable
from cmonlab.data.store import directory
from cmonlab.errors import CmonlabError, SessionError, TopologyError
from cmonlab.schema import SESSION_TABLES
from cmonlab.session.session import Session
from tests.support.command import cmonlab, saved

__all__ = ["cmonlab", "saved"]  # fixtures

MAIN = "import sys; from cmonlab.cli import main; sys.argv[0] = 'cmonlab'; main()"


@pytest.mark.parametrize("table", SESSION_TABLES)
def test_show_prints_every_table_in_every_format(cmonlab, saved, table):
    frame = Session(*directory.load(saved)).table(table)
    code, out, err = cmonlab("show", saved, "--table", table, "--format", "json")
    rows = json.loads(out)
    assert (code, err, len(rows)) == (0, "", len(frame)) and all(list(row) == list(frame.columns) for row in rows)
    parsed = list(csv.reader(io.StringIO(cmonlab("show", saved, "--table", table, "--format", "csv")[1])))
    assert parsed[0] == list(frame.columns) and len(parsed) == len(frame) + 1
    code, out, err = cmonlab("show", saved, "--table", table, "--rows", 3)
    assert code == 0 and len(out.splitlines()) == (1 + min(len(frame), 3) if len(frame) else 1)
    assert ("--rows N shows more" in err) == (len(frame) > 3)


def test_a_piped_table_is_not_wrapped(capsys):
    console.show(pd.DataFrame({"path": ["x" * 300], "n": [1234567]}))
    assert capsys.readouterr().out.splitlines()[1].split() == ["x" * 300, "1,234,567"]


def test_a_narrow_terminal_cuts_no_number_and_no_name(capsys, monkeypatch):
    monkeypatch.setattr(console, "_WIDTH", 40)
    row = {
        "journey": 7,
        "start_ns": 4_299_677_749_666,
        "path": "c1:eth0 → host:veth1",
        "one_way_delay_ns": 83_872,
        "hops": 8,
    }
    console.show(pd.DataFrame([row]), "title")
    text = capsys.readouterr().out
    assert text.count("journey") == 2 and all(name in text for name in row) and "4,299,677,749,666" in text
    assert max(map(len, text.splitlines())) <= 40


def test_an_error_shows_why_and_fix_on_separate_lines(capsys):
    console.complain(CmonlabError("what", why="w" * 200, fix="[bold]fix[/bold]"))
    assert capsys.readouterr().err == f"error: what\n  why: {'w' * 200}\n  fix: [bold]fix[/bold]\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--template", "brige"], "did you mean 'bridge'?"),
        (["--containers", "1"], "traffic needs two ends"),
        (["--containers", "0"], "choose 2 to 1000"),
        (["--containers", "-2"], "choose 2 to 1000"),
        (["--containers", "100000"], "choose 2 to 1000"),
        (["--workload", "memcache"], "did you mean 'memcached'?"),
        (["--points", "netif_rxx"], "did you mean 'netif_rx'?"),
        (["--points", ""], "points: must have"),
        (["--rule", "tcp prt 80"], "did you mean 'port'?"),
        (["--rule", "host example.com"], "write the address in digits"),
        (["--rule", "port 1 or " * 1000 + "port 1"], "at most 2000"),
        (["--duration", "0"], "number of seconds above 0"),
        (["--duration", "-1"], "number of seconds above 0"),
        (["--duration", "nan"], "number of seconds above 0"),
        (["--duration", "inf"], "number of seconds above 0"),
    ],
)
def test_record_refuses_wrong_options_with_one_error_and_leaves_nothing(cmonlab, tmp_path, arguments, text):
    code, out, err = cmonlab("record", "--out", tmp_path / "run", *arguments)
    assert code == 1 and out == "" and err.startswith("error: ") and "  fix: " in err and text in err
    assert err.count("error:") == 1 and len(err) < 1200 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--workload", "sockperf-tpc"], "did you mean 'sockperf-tcp'?"),
        (["--rule", "tcp prt 80"], "did you mean 'port'?"),
        (["--points", "netif_rxx"], "did you mean 'netif_rx'?"),
        (["--rounds", "0"], "give 1 round or more"),
        (["--round-seconds", "nan"], "number of seconds above 0"),
    ],
)
def test_overhead_refuses_wrong_options_before_it_starts(cmonlab, tmp_path, arguments, text):
    code, out, err = cmonlab("overhead", "--out", tmp_path / "run", *arguments)
    assert code == 1 and out == "" and err.count("error:") == 1 and text in err and list(tmp_path.iterdir()) == []


def test_unknown_tables_and_formats_suggest_the_nearest(cmonlab, saved):
    assert "did you mean 'breakdown'?" in cmonlab("show", saved, "--table", "breakdwn")[2]
    assert "did you mean 'csv'?" in cmonlab("show", saved, "--format", "cvs")[2]
    code, _, err = cmonlab("show", saved, "--rows", "0")
    assert code == 2 and "greater than or equal to 1" in err
    code, _, err = cmonlab("shwo", saved)
    assert code == 2 and "'show'" in err


def test_show_suggests_the_sessions_inside_a_directory(cmonlab, saved):
    code, _, err = cmonlab("show", saved.parent)
    assert code == 1 and f"did you mean {saved}?" in err
    assert cmonlab("report", saved.parent / "none")[0] == 1


def test_record_refuses_an_output_that_is_not_free(cmonlab, saved, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    monkeypatch.chdir(tmp_path)
    for out, text in {
        saved: "already holds a session",
        tmp_path / "file": "not an empty directory",
        tmp_path / "full": "not an empty directory",
        tmp_path / "file" / "x": "Not a directory",
        tmp_path / ("x" * 300): "File name too long",
        "/proc/run": "cannot be written",
        "/dev/shm": "e",
        ".": "e",
    }.items():
        code, printed, err = cmonlab("record", "--out", out)
        assert code == 1 and printed == "" and err.startswith("error: ") and text in err, out
    assert sorted(os.listdir(tmp_path)) == ["file", "full"] and (tmp_path / "full" / "x").read_text() == "mine"


def test_demo_refuses_an_output_that_is_not_free_before_it_starts(tmp_path):
    (tmp_path / "memcached").mkdir()
    check_replaceable(tmp_path / "memcached")
    (tmp_path / "memcached" / "mine").write_text("")
    with pytest.raises(SessionError, match="not an empty directory"):
        demo.run(tmp_path, 1.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="is not a directory"):
        demo.run(tmp_path / "file", 1.0)
    with pytest.raises(CmonlabError, match="duration"):
        demo.run(tmp_path, float("nan"))


def test_doctor_returns_its_verdict_as_exit_code(cmonlab, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, out, _ = cmonlab("doctor", "--json")
    assert code == 1 and json.loads(out)["ready"] is False
    code, out, _ = cmonlab("doctor")
    assert code == 1 and "✗ root" in out and "sudo" in out


def test_ctrl_c_exits_with_130_and_a_message(cmonlab, saved, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("cmonlab.session.session.open", interrupted)
    assert cmonlab("show", saved) == (130, "", "interrupted; everything that cmonlab had created has been removed\n")


def test_a_full_disk_under_the_output_is_reported():
    shell = '"$0" -c "$1" --help > /dev/full'
    done = subprocess.run(["sh", "-c", shell, sys.executable, MAIN], capture_output=True, text=True)
    assert done.returncode == 1 and "No space left" in done.stderr and "Traceback" not in done.stderr


def test_help_of_every_command_is_complete(cmonlab):
    alone = ("doctor", "record", "overhead", "show", "report", "agent", "status", "live", "collect", "clean", "demo")
    of_rules = ("check", "explain", "schema", "apply", "list", "remove")
    for command in ([], *([word] for word in (*alone, "rules")), *(["rules", word] for word in of_rules)):
        code, out, _ = cmonlab(*command, "--help")
        assert (
            code == 0
            and "..." not in out.replace("[ARGS]...", "").replace("{names}...", "").replace("names...", "")
            and "--help" in out
        )
    _, out, _ = cmonlab("show", "--help")
    assert all(table in out for table in SESSION_TABLES)
    assert all(callable(getattr(Session, table)) for table in SESSION_TABLES)


def test_show_loads_neither_docker_nor_bcc(saved):
    code = f"import sys; sys.argv = ['cmonlab', 'show', {str(saved)!r}]; sys.stdout = sys.stderr\n"
    code += "from cmonlab.cli import main\ntry: main()\nexcept SystemExit: print(*sys.modules, file=sys.__stdout__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "cmonlab.session" in loaded and not loaded & {"docker", "bcc", "pyroute2"}


def test_template_parameters_are_numbers_or_words():
    assert dict(map(app._parameter, ["hosts=3", "image=mine:1"])) == {"hosts": 3, "image": "mine:1"}
    for text in ("hosts", "=3"):
        with pytest.raises(TopologyError, match="sets nothing"):
            app._parameter(text)


def test_wrong_template_parameters_are_refused_before_anything_is_created(cmonlab, tmp_path):
    for given, text in (("host=3", "did you mean 'hosts'"), ("hosts=3", "choose 3 to 1000"), ("hosts", "--set")):
        code, _, error = cmonlab("record", "--template", "vxlan", "--set", given, "--out", str(tmp_path / "run"))
        assert code == 1 and text in error
    assert not (tmp_path / "run").exists()
