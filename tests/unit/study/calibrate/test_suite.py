"""The calibration suite without root: order of groups, failures, and written files."""

import json
import sys
import types
from contextlib import nullcontext

import pytest

from cmonlab import cli
from cmonlab.data.store.directory import MANIFEST
from cmonlab.errors import NotTraceable, SessionError, UnknownName
from cmonlab.study.calibrate import page, suite
from cmonlab.study.calibrate.check import Check, Unavailable
from cmonlab.study.calibrate.outcome import Broken, Calibration
from cmonlab.tracing import preflight

HOST = {
    "created": "2026-01-01T00:00:00+00:00",
    "missing_points": [],
    "versions": {"cmonlab": "0.1"},
    "machine": {"cpu": "a <cpu>", "cpus": 2, "machine": "x86_64", "clocksource": "tsc"},
    "kernel": {"kernel": "6.1"},
}
GOOD = Check("delay", "delay: queue, p50", 30_000.0, 30_900.0, "ns", 2_000.0, "computed", trace_gap_ns=5, attempts=2)
WIDE = Check("delay", "delay: queue, p99", 90_000.0, 97_000.0, "ns", 4_500.0, "computed <b>")
EXACT = Check("loss", "loss: filter, dropped", 10.0, 10.0, "packets", 0.0)
NONE = Check("loss", "loss: filter, delay of none", 10.0, float("nan"), "packets", 1.0)
LACKING = Unavailable("delay", "delay: netem", "this kernel has no netem")
BED = object()


def _fine(bed, quick):
    assert bed is BED
    yield [GOOD]
    yield LACKING
    if not quick:
        yield [EXACT]


def _wrong(bed, quick):
    yield [WIDE, NONE]


def _ends(bed, quick):
    yield [EXACT]
    raise NotTraceable("no way in", why="it is shut", fix="open it")


def _surprises(bed, quick):
    return iter([{}["nothing"]])


def _stopped(bed, quick):
    yield [GOOD]
    raise KeyboardInterrupt


@pytest.fixture
def groups(monkeypatch):
    """Return a function that replaces the groups of the calibration; no host is examined."""

    def use(**functions):
        monkeypatch.setattr(suite, "GROUPS", dict.fromkeys(functions, "made"))
        for name, run in functions.items():
            module = types.ModuleType(f"cmonlab.study.calibrate.groups.{name}")
            module.run = run
            monkeypatch.setitem(sys.modules, module.__name__, module)

    monkeypatch.setattr(suite, "testbed", lambda: nullcontext(BED))
    monkeypatch.setattr(suite, "describe_host", lambda: dict(HOST))
    monkeypatch.setattr(preflight, "require", lambda: None)
    return use


@pytest.fixture
def cmonlab(monkeypatch, capsys):
    """Return a function: arguments → exit code, standard output, standard error."""
    monkeypatch.setattr(cli, "_catch_signals", lambda: None)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cmonlab", "calibrate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return call


def test_every_group_has_a_module_with_run():
    for name in suite.GROUPS:
        assert callable(suite.import_module(f"cmonlab.study.calibrate.groups.{name}").run)


def test_groups_run_in_order_and_report_progress(groups):
    groups(first=_fine, second=_wrong)
    calls = []
    result = suite.calibrate(progress=lambda phrase, done: calls.append((phrase, done)))
    assert [check.name for check in result.checks] == [check.name for check in (GOOD, EXACT, WIDE, NONE)]
    assert result.unavailable == [LACKING] and not result.passed and result.failed == [WIDE, NONE]
    assert [done for _, done in calls] == sorted(done for _, done in calls)
    assert calls[0] == ("first", 0.0) and ("second", 0.5) in calls and any(GOOD.name in phrase for phrase, _ in calls)
    assert suite.calibrate(["first"], quick=True).checks == [GOOD]


def test_error_ends_its_group_only(groups):
    groups(first=_ends, second=_surprises, third=_fine)
    result = suite.calibrate()
    assert result.checks == [EXACT, GOOD, EXACT] and not result.failed and not result.passed
    assert result.broken[0] == Broken("first", "no way in", "it is shut")
    assert result.broken[1].what == "KeyError: 'nothing'" and "_surprises" in result.broken[1].why


def test_calibration_without_checks_fails(groups, tmp_path, cmonlab):
    groups(first=lambda bed, quick: iter([LACKING]))
    code, _, err = cmonlab("--out", tmp_path / "c")
    assert code == 1 and "nothing was checked" in err


def test_unknown_group_is_refused_before_anything_is_made(groups, monkeypatch):
    groups(delay=_fine)
    monkeypatch.setattr(suite, "testbed", lambda: pytest.fail("made"))
    with pytest.raises(UnknownName, match="did you mean 'delay'"):
        suite.calibrate(["dealy"])


def test_file_holds_every_check(groups, tmp_path, cmonlab):
    groups(first=_fine, second=_wrong)
    out = tmp_path / "new" / "calibrate"
    code, printed, err = cmonlab("--out", out, "--json")
    stored = json.loads((out / page.RESULT).read_text())
    assert code == 1
    assert json.loads(printed) == stored["checks"]
    assert stored["checks"][0] == {
        "group": "delay",
        "name": GOOD.name,
        "truth": 30000.0,
        "measured": 30900.0,
        "error": 900.0,
        "unit": "ns",
        "tolerance": 2000.0,
        "pass": True,
        "note": "computed",
        "trace_gap_ns": 5,
        "attempts": 2,
    }
    assert [check["pass"] for check in stored["checks"]] == [True, True, False, False]
    assert stored["checks"][3]["measured"] is None
    assert stored["summary"] == {
        "pass": False,
        "checks": 4,
        "passed": 2,
        "failed": 2,
        "unavailable": 1,
        "broken_groups": 0,
        "repeated_for_trace_gaps": 1,
    }
    assert stored["unavailable"] == [{"group": "delay", "name": "delay: netem", "why": LACKING.why}]
    assert {"machine", "kernel", "versions", "created", "quick", "seconds", "groups", "broken"} <= stored.keys()
    assert f"failed: {WIDE.name}: error 7,000 ns, tolerance 4500" in err and f"failed: {NONE.name}" in err
    assert "2 of 4 checks passed" in err


def test_command_prints_one_table_per_group_and_exits_0(groups, tmp_path, cmonlab):
    groups(first=_fine)
    code, printed, err = cmonlab("--out", tmp_path / "c", "--only", "first")
    assert code == 0 and "2 of 2 checks passed" in err and "failed" not in err
    titles = ["delay", "loss", "not available here"]
    assert [line.strip() for line in printed.splitlines() if line.strip() in titles] == titles
    assert GOOD.name in printed and EXACT.name in printed and LACKING.why in printed


def test_command_reports_a_broken_group_and_exits_1(groups, tmp_path, cmonlab):
    groups(first=_ends)
    code, _, err = cmonlab("--out", tmp_path / "c")
    assert code == 1 and "the group first ended with an error: no way in" in err and "it is shut" in err


def test_interrupted_command_writes_nothing(groups, tmp_path, cmonlab):
    groups(first=_stopped)
    code, printed, err = cmonlab("--out", tmp_path / "c")
    assert code == 130 and printed == "" and "interrupted" in err
    assert not list(tmp_path.iterdir())


def test_older_calibration_is_replaced_atomically(tmp_path, monkeypatch):
    first = Calibration(dict(HOST), ["delay"], True, 1.0, [GOOD])
    page.write(tmp_path / "c", first)
    (tmp_path / "c" / "left").touch()
    page.write(tmp_path / "c", Calibration(dict(HOST), ["delay"], False, 2.0, [WIDE]))
    assert {path.name for path in (tmp_path / "c").iterdir()} == {page.RESULT, page.REPORT}
    monkeypatch.setattr(page, "write_report", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(SessionError, match="No space left"):
        page.write(tmp_path / "c", first)
    assert json.loads((tmp_path / "c" / page.RESULT).read_text())["quick"] is False
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_check_target_refuses_a_session(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / MANIFEST).touch()
    with pytest.raises(SessionError, match="already holds a session"):
        page.check_target(tmp_path / "c")


def test_report_shows_failed_checks_first_and_marked(tmp_path):
    result = Calibration(
        dict(HOST),
        ["delay", "loss"],
        True,
        1.0,
        [GOOD, WIDE, EXACT, NONE],
        [LACKING],
        [Broken("loss", "broke <i>", "so")],
    )
    page.write(tmp_path / "c", result)
    text = (tmp_path / "c" / page.REPORT).read_text()
    body = text[text.index("<tbody>") :]
    rows = body[: body.index("</tbody>")].split("<tr")[1:]
    assert [row.startswith(" class='failed'") for row in rows] == [True, True, False, False]
    assert "computed &lt;b&gt;" in text and "broke &lt;i&gt;" in text and "a &lt;cpu&gt;" in text
    assert LACKING.why in text and "This calibration did not pass." in text
