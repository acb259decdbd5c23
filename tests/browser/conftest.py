"""A browser and the servers that it visits, each started once."""

import pytest

from .servers import JupyterLab
from .watch import chromium, open_pages, picture


# Not with the scope of the session: while Playwright runs, nothing else can run an event loop in this thread.
@pytest.fixture(scope="package")
def browser():
    """The host's Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def jupyterlab(tmp_path_factory):
    """A JupyterLab server over an empty directory."""
    with JupyterLab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="package")
def engine():
    """A client of the Docker engine, which runs until the last test of this tier."""
    from cmonlab.lab.docker.engine import docker_engine

    with docker_engine() as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Add pictures of the open pages to the report of a failure."""
    report = yield
    if report.failed and open_pages:
        try:
            files = picture(f"{item.name}-{report.when}")
            report.sections.append(("pictures", "\n".join(map(str, files))))
        except Exception as error:  # the browser may have crashed, which is why the test failed
            report.sections.append(("pictures", f"none: {error}"))
        lines = [line for page in open_pages for line in page.log[-30:]]
        report.sections.append(("consoles", "\n".join(lines)))
    return report
