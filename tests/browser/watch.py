"""Pages in Chromium that tell what went wrong in them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import BROWSERS

#: Errors on the console that are none, each with its reason.
HARMLESS = {
    # It waits for two seconds, which a busy machine exceeds; ours begin later all the same (widgets/js/listening.js).
    r"\[anywidget\] Failed to initialize model": "a widget that is slow to begin",
}
SCREENSHOTS = Path(os.environ.get("CI_ARTIFACTS") or "runs/browser")
#: Pages that are open, for a picture of them when a test fails.
open_pages: list = []


@contextmanager
def chromium() -> Iterator:
    """Yield the host's Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)))
    # Chromium's sandbox does not run as root; only pages of our own are opened. The others keep it from asking its
    # makers for updates and experiments.
    switches = ["--no-sandbox"] if os.geteuid() == 0 else []
    switches += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=switches)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visited(browser, url: str, **context) -> Iterator:
    """Yield a page that is at an address; afterwards, nothing may have gone wrong in it, or been asked elsewhere.

    Parameters
    ----------
    browser
    url : str
    **context
        As Playwright's ``new_context`` has it, for instance ``color_scheme="dark"``.
    """
    told: list[str] = []
    origin = re.match(r"\w+://[^/]+", url)[0]
    visit = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | context)
    page = visit.new_page()
    page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"error: not caught: {error}"))
    page.on("request", lambda request: told.extend(_elsewhere(request.url, origin)))
    open_pages.append(page)
    page.told = told
    try:
        page.goto(url, wait_until="commit")
        yield page
        assert complaints(page) == []
    finally:
        open_pages.remove(page)
        visit.close()


def complaints(page) -> list[str]:
    """Return the errors on a page's console that are not known to be harmless."""
    errors = [line for line in page.told if line.startswith("error: ")]
    return [line for line in errors if not any(re.search(known, line) for known in HARMLESS)]


def _elsewhere(url: str, origin: str) -> list[str]:
    return [] if url.startswith((f"{origin}/", "blob:", "data:")) else [f"error: asks elsewhere: {url}"]


def picture(name: str) -> list[Path]:
    """Write a picture of each open page; return the files."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    files = []
    for number, page in enumerate(open_pages):
        file = SCREENSHOTS / f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}-{number}.png"
        page.screenshot(path=file)
        files.append(file)
    return files
