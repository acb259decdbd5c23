"""Rules of the test tiers, tested with small generated projects."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = (Path(__file__).parents[1] / "conftest.py").read_text()
CAPABLE = "\nLACKS.update(kernel=lambda: '', docker=lambda: '')\n"
NO_BTF = "\nLACKS.update(kernel=lambda: 'no BTF', docker=lambda: '')\n"
PASSES = "def test_it(): assert 1 + 1 == 2\n"


@pytest.fixture
def run(pytester, monkeypatch):
    """Return a function that runs tests (text by path) on a host with the given capabilities."""

    def run(tests: dict[str, str], host: str, require: str = "", *args: str):
        monkeypatch.setenv("CMONLAB_REQUIRE", require)
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        markers = "".join(f"\n    {name}" for name in ("kernel", "docker", "browser"))
        pytester.makeini(f"[pytest]\naddopts = --import-mode=importlib\nmarkers ={markers}\n")
        pytester.makeconftest(CONFTEST + host)
        for path, text in tests.items():
            file = pytester.path / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        return pytester.runpytest(*args)

    return run


def test_missing_capability_skips_and_names_the_reason(run):
    result = run({"kernel/test_a.py": PASSES, "unit/test_b.py": PASSES}, NO_BTF)
    result.assert_outcomes(skipped=1, passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*tiers*", "unit*1 ran", "kernel*0 ran, 1 SKIPPED (no BTF)"])


def test_required_tier_that_is_skipped_fails(run):
    result = run({"kernel/test_a.py": PASSES, "unit/test_b.py": PASSES}, NO_BTF, "kernel")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*kernel tier is required here*no BTF*", "kernel*REQUIRED HERE, and none ran"])


@pytest.mark.parametrize("require", ["kernel", "docker", "kernel,docker"])
def test_required_tier_without_tests_fails(run, require):
    result = run({"unit/test_b.py": PASSES}, CAPABLE, require)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_required_tier_fails_if_no_test_is_collected(run):
    assert run({}, CAPABLE, "kernel").ret == pytest.ExitCode.TESTS_FAILED


def test_required_tier_that_is_deselected_fails(run):
    result = run({"kernel/test_a.py": PASSES, "unit/test_b.py": PASSES}, CAPABLE, "kernel", "-m", "not kernel")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_required_tier_that_runs_passes(run):
    result = run({"kernel/test_a.py": PASSES, "docker/test_b.py": PASSES}, CAPABLE, "kernel,docker")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    "text",
    [
        "import pytest\ndef test_it(): pytest.skip('bcc is missing')\n",
        "import pytest\n@pytest.mark.skipif(True, reason='bcc is missing')\ndef test_it(): pass\n",
        "import pytest\n@pytest.fixture\ndef lab(): pytest.skip('bcc is missing')\ndef test_it(lab): pass\n",
        "import pytest\npytest.skip('bcc is missing', allow_module_level=True)\n",
    ],
    ids=["test", "mark", "fixture", "module"],
)
def test_skip_inside_a_required_tier_fails_and_is_allowed_elsewhere(run, text):
    tests = {"kernel/test_a.py": PASSES, "kernel/test_b.py": text}
    assert run(tests, CAPABLE).ret == pytest.ExitCode.OK
    result = run(tests, CAPABLE, "kernel")
    assert result.ret not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    result.stdout.fnmatch_lines(["*required here and must not be skipped: bcc is missing*"])


def test_optional_capability_may_be_skipped(run):
    skips = "import pytest\ndef test_it(): pytest.skip('optional: no kprobes')\n"
    result = run({"kernel/test_a.py": PASSES, "kernel/test_b.py": skips}, CAPABLE, "kernel")
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == pytest.ExitCode.OK


def test_expected_failure_does_not_count_as_a_skip(run):
    xfail = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it(): assert 1 == 2\n"
    result = run({"kernel/test_a.py": xfail}, CAPABLE, "kernel")
    result.assert_outcomes(xfailed=1)
    assert result.ret == pytest.ExitCode.OK


def test_marker_puts_a_test_into_its_tier(run):
    marked = "import pytest\n@pytest.mark.kernel\n" + PASSES
    result = run({"unit/test_a.py": marked}, NO_BTF)
    result.assert_outcomes(skipped=1)


def test_test_of_two_tiers_needs_both_and_counts_for_the_last(run):
    tests = {"browser/test_a.py": "import pytest\n@pytest.mark.kernel\n" + PASSES}
    run(tests, NO_BTF + "LACKS.update(browser=lambda: '')\n").assert_outcomes(skipped=1)
    result = run(tests, CAPABLE + "LACKS.update(browser=lambda: '')\n", "browser")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["kernel*0 ran", "browser*1 ran"])


def test_unknown_tier_is_refused(run):
    result = run({"unit/test_a.py": PASSES}, CAPABLE, "kernal")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown tier kernal; known: kernel, docker*"])
