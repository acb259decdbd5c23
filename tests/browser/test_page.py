"""The stand-alone page: the token check, and kernels that end with their page."""

import os
from pathlib import Path

import pytest

from cmonlab.page.server import PageServer

from .servers import wait_until, write_notebook
from .watch import visited

#: A notebook that counts up continuously, and at each click.
COUNTER = """\
import os, threading, time
import ipywidgets as widgets
import plotly.graph_objects as go

ticks, place = widgets.Label("0"), widgets.Label(os.getcwd())
button = widgets.Button(description="clicks: 0", icon="pause")
figure = go.FigureWidget(go.Bar(x=["a", "b"], y=[1, 2]))

def clicked(_):
    button.description = f"clicks: {int(button.description.split()[1]) + 1}"

def tick():
    while True:
        time.sleep(0.1)
        ticks.value = str(int(ticks.value) + 1)

button.on_click(clicked)
threading.Thread(target=tick, daemon=True).start()
display(widgets.VBox([ticks, place, button, figure]))
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    return write_notebook(tmp_path_factory.mktemp("page") / "counter.ipynb", COUNTER)


@pytest.fixture(scope="module")
def server(notebook):
    with PageServer(notebook, linger_s=2.0) as server:
        yield server


def kernels(server) -> list[int]:
    """Return the process numbers of a server's kernels."""

    def argv(pid: str) -> bytes:
        try:
            return Path("/proc", pid, "cmdline").read_bytes()
        except OSError:
            return b""

    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and bytes(server.directory) in argv(pid)]


def ticks(page) -> int:
    return int(page.locator(".widget-label").first.inner_text())


def wait_for_tick(page) -> None:
    page.locator(".js-plotly-plot .point path").first.wait_for(timeout=60_000)
    before = ticks(page)
    wait_until(lambda: ticks(page) > before, 10, "the page counts up")


def test_a_page_is_live_and_its_kernel_ends_with_it(server, browser):
    with visited(browser, server.url) as page:
        wait_for_tick(page)
        page.get_by_role("button", name="clicks: 0").click()
        page.get_by_role("button", name="clicks: 1").wait_for()
        assert page.locator(".widget-label").nth(1).inner_text() == os.getcwd()
        assert len(kernels(server)) == 1
        page.close(run_before_unload=True)
        wait_until(lambda: not kernels(server), 20, "the kernel ends when its page is closed")


def test_kernels_end_when_a_browser_disappears(server, browser):
    with visited(browser, server.url) as page:
        wait_for_tick(page)
        page.context.close()
        wait_until(lambda: not kernels(server), 20, "the kernel ends when no page is connected")


def test_without_the_token_the_page_says_what_to_do(server, browser):
    refused = browser.new_page()
    for address in (server.url.rsplit("/", 2)[0] + "/", server.url[:-2] + "/", server.url + "../"):
        assert refused.goto(address).status == 403
        assert refused.get_by_role("heading").inner_text() == "This dashboard is private"
        assert "Open the address that the command printed" in refused.locator("main").inner_text()
    assert refused.context.cookies() == []
    refused.close()
    assert kernels(server) == []


def test_a_foreign_page_cannot_open_the_websocket(server, browser):
    """It is refused with the token and without it."""
    page = browser.new_page()
    page.goto("data:text/html,<title>elsewhere</title>")
    for url in (server.url, server.url.rsplit("/", 2)[0] + "/wrong/"):
        address = url.replace("http", "ws", 1) + "api/kernels/00000000-0000-0000-0000-000000000000/channels"
        opened = "address => new Promise(done => { const socket = new WebSocket(address);"
        opened += "socket.onopen = () => done('open'); socket.onerror = () => done('refused') })"
        assert page.evaluate(opened, address) == "refused"
    page.close()
