"""Tiers of tests: unit, and what a host must be able to do for kernel, docker and browser.

The tier is the folder under ``tests/`` (or the marker).  Where a host lacks the
capability its tests are skipped, and the summary says so.  ``CMONLAB_REQUIRE``
(``kernel,docker``, set by ``make test`` where root and BTF are there, and ``browser``) turns such
skips into failures, and so is a required tier of which nothing ran.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.support")

# A loaded machine is no failure; how long a test took says nothing about the code. A check of a change tries the same
# examples each time, a run by hand new ones.
settings.register_profile("cmonlab", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("cmonlab")

#: A test that needs more than its tier does (say, kprobes) starts its skip's reason so.
OPTIONAL = "optional: "
_SBIN = os.pathsep.join(["/usr/local/sbin", "/usr/sbin", "/sbin"])


def _kernel_lacks() -> str:
    if os.geteuid() != 0:
        return "not root: use `sudo make test`"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "no BTF: the kernel is built without CONFIG_DEBUG_INFO_BTF"
    return ""


def _docker_lacks() -> str:
    if os.geteuid() != 0:
        return "not root: use `sudo make test`"
    path = os.environ.get("PATH", os.defpath) + os.pathsep + _SBIN
    if not shutil.which("dockerd", path=path) and not Path("/var/run/docker.sock").exists():
        return "no Docker engine: use `make setup`"
    return ""


#: Names of Chromium, and of what is built from it.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _browser_lacks() -> str:
    if not any(map(shutil.which, BROWSERS)):
        return f"no {', '.join(BROWSERS)} on PATH: use `make setup`"
    missing = [name for name in ("playwright", "jupyterlab", "voila") if not importlib.util.find_spec(name)]
    return f"Python packages are missing ({', '.join(missing)}): use `make setup`" if missing else ""


#: Tier → function that names what this host lacks, empty if nothing.
LACKS = {"kernel": _kernel_lacks, "docker": _docker_lacks, "browser": _browser_lacks}


class Tiers:
    """Counts what ran and what was skipped per tier, and judges the required ones."""

    def __init__(self, required: set[str]):
        self.required = required
        self.lacks = {tier: lacks() for tier, lacks in LACKS.items()}
        self.ran: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def not_run(self) -> list[str]:
        """Return the required tiers of which no test ran."""
        return sorted(tier for tier in self.required if not self.ran[tier])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        tier = _tier_of(item)
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped[tier] += 1
            self._refuse_skip(report, tier)
        elif report.when == "call":
            self.ran[tier] += 1
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        report = yield
        if report.skipped:
            tier = _folder_tier(collector.path)
            self.skipped[tier] += 1
            self._refuse_skip(report, tier)
        return report

    def _refuse_skip(self, report, tier: str) -> None:
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if tier in self.required and not reason.startswith(OPTIONAL):
            report.outcome = "failed"
            report.longrepr = f"the {tier} tier is required here and must not be skipped: {reason}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        for tier in _tiers_of(item):
            if reason := self.lacks.get(tier):
                pytest.skip(reason)

    def pytest_sessionfinish(self, session, exitstatus):
        collect_only = session.config.getoption("collectonly")
        if (
            self.not_run()
            and not collect_only
            and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter, config):
        if config.getoption("collectonly"):
            return
        terminalreporter.section("tiers")
        for tier in ("unit", *LACKS):
            ran, skipped = self.ran[tier], self.skipped[tier]
            line, colour = f"{tier:7} {ran} ran", {"green": bool(ran)}
            if skipped:
                reason = self.lacks.get(tier)
                line += f", {skipped} SKIPPED" + (f" ({reason})" if reason else "")
                colour = {"yellow": True}
            if tier in self.not_run():
                line, colour = f"{line}: REQUIRED HERE, and none ran", {"red": True}
            terminalreporter.write_line(line, **colour)


def _folder_tier(path: Path) -> str:
    parts = path.relative_to(Path(__file__).parent).parts
    return parts[0] if parts and parts[0] in LACKS else "unit"


def _tiers_of(item) -> list[str]:
    """Return the tiers whose capabilities a test needs; the last one is its own."""
    return [tier for tier in LACKS if item.get_closest_marker(tier)] or [_folder_tier(item.path)]


def _tier_of(item) -> str:
    return _tiers_of(item)[-1]


def pytest_configure(config):
    """Read what is required and start counting."""
    required = {tier.strip() for tier in os.environ.get("CMONLAB_REQUIRE", "").split(",")} - {""}
    if unknown := required - LACKS.keys():
        raise pytest.UsageError(
            f"CMONLAB_REQUIRE: unknown tier {', '.join(sorted(unknown))}; known: {', '.join(LACKS)}"
        )
    config.pluginmanager.register(Tiers(required), "cmonlab-tiers")


def pytest_collection_modifyitems(items):
    """Let ``-m kernel`` find every test of the folder, marked or not."""
    for item in items:
        if (tier := _folder_tier(item.path)) in LACKS:
            item.add_marker(tier)
