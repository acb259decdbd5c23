"""The token check of the dashboard's server, tested with plain HTTP requests."""

import http.client
import json
import os
import socket
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from cmonlab.errors import PageError

pytest.importorskip("voila", reason="optional: the packages of the extra 'notebook'")
from cmonlab.page import server as page_server
from cmonlab.page.server import PageServer
from cmonlab.system.tempdirs import prefix

TOKEN = "a-token-of-the-tests"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
KERNEL = "/api/kernels/00000000-0000-0000-0000-000000000000"
#: Paths of the server: the page, a kernel, its websocket, a file, a theme, and the request that ends a page's kernel.
PATHS = [
    "/",
    KERNEL,
    f"{KERNEL}/channels",
    "/voila/static/voila.js",
    "/voila/api/themes/x/index.css",
    "/voila/api/shutdown/0",
]


@pytest.fixture(scope="module")
def server():
    with PageServer(token=TOKEN) as server:
        yield server


def test_kernels_use_unix_sockets_in_a_directory_that_nobody_else_can_read(server):
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    directory = Path(tempfile.mkdtemp(prefix=prefix(), dir="/tmp"))
    os.rmdir(directory)
    assert page_server._config(Path("a.ipynb"), TOKEN, "light", directory, {}, 1.0)["KernelManager"] == {
        "transport": "ipc"
    }


def _ask(server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, dict(answer.getheaders()), text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("prefix", ["", "/wrong", f"/{TOKEN}x", f"/{TOKEN[:-1]}", f"//{TOKEN}", f"/x/../{TOKEN}"])
def test_every_path_is_refused_without_the_token(server, prefix, method, path):
    status, headers, text = _ask(server, prefix + path, method)
    assert status == 403
    assert "the address that the command printed" in text
    assert "Location" not in headers and "Set-Cookie" not in headers
    assert TOKEN not in text


@pytest.mark.parametrize("query", [f"?token={TOKEN}", f"?{TOKEN}"])
def test_the_token_is_accepted_in_the_path_only(server, query):
    assert _ask(server, f"/{query}")[0] == 403
    assert _ask(server, "/", Authorization=f"token {TOKEN}")[0] == 403
    assert _ask(server, "/", Cookie=f"token={TOKEN}")[0] == 403


def test_websockets_are_refused_without_the_token(server):
    assert _ask(server, f"/wrong{KERNEL}/channels", **UPGRADE)[0] == 403
    assert _ask(server, f"{KERNEL}/channels", **UPGRADE)[0] == 403


def test_files_and_kernels_are_served_with_the_token(server):
    status, _, text = _ask(server, f"/{TOKEN}/voila/static/voila.js")
    assert (status, len(text) > 10_000) == (200, True)
    assert _ask(server, f"/{TOKEN}{KERNEL}")[0] == 404  # allowed, but there is no such kernel
    assert _ask(server, f"/{TOKEN}{KERNEL}/channels", **UPGRADE)[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.1:{port}", ""]
)
def test_other_host_names_are_refused(server, host):
    assert _ask(server, f"/{TOKEN}{KERNEL}", Host=host.format(port=server.port))[0] in (400, 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_both_names_of_loopback_are_accepted(server, host):
    own = f"{host}:{server.port}"
    assert _ask(server, f"/{TOKEN}{KERNEL}", Host=own, Origin=f"http://{own}")[0] == 404


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", "https://127.0.0.1:{port}"])
@pytest.mark.parametrize("headers", [{}, UPGRADE], ids=["plain", "websocket"])
def test_other_pages_are_refused_even_with_the_token(server, origin, headers):
    path = f"/{TOKEN}{KERNEL}/channels"
    assert _ask(server, path, Origin=origin.format(port=server.port), **headers)[0] == 403


def test_the_server_listens_on_loopback_only(server):
    (listening,) = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == server.port
    ]
    assert listening.startswith("0100007F:")  # 127.0.0.1
    assert f":{server.port:04X}" not in Path("/proc/net/tcp6").read_text()


def test_the_directory_of_the_server_is_private(server):
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700


def test_random_tokens_differ_and_are_not_in_the_repr():
    with PageServer() as one, PageServer() as other:
        tokens = {server.url.split("/")[3] for server in (one, other)}
        assert len(tokens) == 2 and min(map(len, tokens)) >= 40
        assert not any(token in repr(one) + repr(other) for token in tokens)
        assert one.port != other.port


def test_close_is_idempotent_and_leaves_nothing():
    before = threading.active_count()
    server = PageServer()
    server.close()
    server.close()
    assert not server.directory.exists()
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


@pytest.mark.parametrize("token", ["", "short", "with/a-slash-in-it", "spaces are no good here", "é" * 20])
def test_a_weak_token_is_refused(token):
    with pytest.raises(PageError, match="16 to 128"):
        PageServer(token=token)


def test_a_port_in_use_is_reported(server):
    with pytest.raises(PageError, match=f"port {server.port} .*\n.*in use"):
        PageServer(port=server.port)


def test_the_page_is_a_notebook_of_one_cell():
    page = Path(PageServer.__init__.__defaults__[0])
    (cell,) = json.loads(page.read_text())["cells"]
    assert "".join(cell["source"]) == "from cmonlab.page.visit import show\n\nshow()"
    assert not cell["outputs"]
