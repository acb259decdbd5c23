"""Pages in Chromium that report what went wrong in them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import BROWSERS

#: Harmless errors on the console, each with its reason.
HARMLESS = {
    # anywidget gives up after two seconds, but our widgets start even later than that (widgets/js/listening.js).
    r"\[anywidget\] Failed to initialize model": "a widget that starts slowly",
}
SCREENSHOTS = Path(os.environ.get("CI_ARTIFACTS") or "runs/browser")
#: Pages that are open, for a picture of them when a test fails.
open_pages: list = []


@contextmanager
def chromium() -> Iterator:
    """Yield the host's Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)))
    # Chromium's sandbox does not work as root; only our own pages are opened. The other switches keep Chromium from
    # requesting updates and experiments.
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
    """Yield a page at an address; afterwards, check that it had no error and requested nothing from other hosts.

    Parameters
    ----------
    browser : playwright.sync_api.Browser
        Opens the page.
    url : str
        The address.
    **context
        Options of Playwright's ``new_context``, for instance ``color_scheme="dark"``.
    """
    log: list[str] = []
    origin = re.match(r"\w+://[^/]+", url)[0]
    visit = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | context)
    page = visit.new_page()
    page.on("console", lambda message: log.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: log.append(f"error: not caught: {error}"))
    page.on("request", lambda request: log.extend(_elsewhere(request.url, origin)))
    open_pages.append(page)
    page.log = log
    try:
        page.goto(url, wait_until="commit")
        yield page
        assert complaints(page) == []
    finally:
        open_pages.remove(page)
        visit.close()


def complaints(page) -> list[str]:
    """Return the errors on a page's console that are not known to be harmless."""
    errors = [line for line in page.log if line.startswith("error: ")]
    return [line for line in errors if not any(re.search(known, line) for known in HARMLESS)]


def _elsewhere(url: str, origin: str) -> list[str]:
    return [] if url.startswith((f"{origin}/", "blob:", "data:")) else [f"error: requests another host: {url}"]


def picture(name: str) -> list[Path]:
    """Write a picture of each open page; return the files."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    files = []
    for number, page in enumerate(open_pages):
        file = SCREENSHOTS / f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}-{number}.png"
        page.screenshot(path=file)
        files.append(file)
    return files
