"""Serves one of our notebooks as a page on loopback, with Voilà; every request needs a token."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
from tornado.netutil import bind_sockets
from tornado.web import Application
from traitlets.config import Config
from voila.app import Voila
from voila.configuration import VoilaConfiguration

from cmonlab.errors import PageError
from cmonlab.system import tempdirs

from .access import HEADERS, check_token
from .kernels import OwnPython, PageKernels
from .visit import THEME_VARIABLE

_DASHBOARD = Path(__file__).with_name("dashboard.ipynb")
_TEMPLATE = Path(__file__).with_name("template")
_START_S, _STOP_S = 20.0, 15.0
_CHECK_KERNELS_S = 1.0
# A page on a busy machine may not answer for a while.
_PING_MS = 60_000
# Kernels use Unix sockets in our private directory. The path of a socket has at most 107 bytes, of which a kernel's
# name takes 50; in a directory with a longer path, kernels use TCP ports on loopback and a key.
_LONGEST = 56
_EXTENSIONS = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


class PageServer:
    """Serves a page on loopback; each visit has its own kernel. A context manager.

    Parameters
    ----------
    notebook : Path
        Runs for each visit; its outputs are the page.
    port : int
        Port to listen on; 0 for a free one.
    token : str, optional
        What every request must have: 16 to 128 letters, digits, ``-`` and ``_``. By default a random token.
    theme : {"light", "dark"}
        Colours of the page.
    variables : mapping of str to str, optional
        Environment variables of the kernels, added to those of this process.
    linger_s : float
        How long a kernel waits for its page to reconnect when the browser does not report that it was closed, s.

    Attributes
    ----------
    url : str
        Address with the token.
    port : int
        Port that the server listens on.
    directory : Path
        Private files; removed when the server is closed.

    Raises
    ------
    PageError
        The token is not valid, or the port is not available.
    """

    def __init__(
        self,
        notebook: Path = _DASHBOARD,
        port: int = 0,
        token: str | None = None,
        theme: str = "light",
        variables: Mapping[str, str] | None = None,
        linger_s: float = 60.0,
    ):
        self._token = secrets.token_urlsafe(32) if token is None else _checked(token)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="cmonlab page", daemon=True)
        self._ended = asyncio.Event()
        self._sockets = _listen(port)
        self.port = self._sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/{self._token}/"
        self.directory = Path(tempfile.mkdtemp(prefix=tempdirs.prefix()))
        variables = {THEME_VARIABLE: theme, **(variables or {})}
        self._config = _config(notebook, self._token, theme, self.directory, variables, linger_s)
        self._ready: Future[None] = Future()
        self._thread.start()
        try:
            self._ready.result(_START_S)
        except BaseException:
            self.close()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        app = _voila(self._config)
        application = Application(**app.init_settings(), log_function=lambda handler: None)
        application.settings.update(
            headers=HEADERS, ws_ping_interval=_PING_MS, ws_ping_timeout=_PING_MS, static_path=app.static_root
        )
        application.add_handlers(".*$", app.init_handlers())
        kernels: PageKernels = app.kernel_manager
        server = HTTPServer(check_token(self._token, application))
        server.add_sockets(self._sockets)
        check_kernels = PeriodicCallback(kernels.end_disconnected, _CHECK_KERNELS_S * 1000)
        check_kernels.start()
        self._ready.set_result(None)
        await self._ended.wait()
        check_kernels.stop()
        server.stop()
        await kernels.shutdown_all(now=True)
        await server.close_all_connections()

    def close(self) -> None:
        """End the server and its kernels; idempotent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(_STOP_S)
        for listening in self._sockets:
            listening.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __repr__(self) -> str:
        return f"<PageServer at port {self.port}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise PageError(
            "the token is not safe",
            why="it must have 16 to 128 letters, digits, '-' and '_'",
            fix="make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token


def _listen(port: int) -> list[socket.socket]:
    try:
        return bind_sockets(port, "127.0.0.1")
    except (OSError, OverflowError) as error:
        raise PageError(
            f"port {port} of loopback is not available", why=str(error), fix="give another --port, or none"
        ) from error


def _config(
    notebook: Path, token: str, theme: str, directory: Path, variables: dict[str, str], linger_s: float
) -> Config:
    """Return the whole configuration; no configuration file of the user or of the current directory is read."""
    return Config(
        {
            "Voila": {
                "notebook_path": str(notebook),
                "base_url": f"/{token}/",
                "open_browser": False,
                "connection_dir_root": str(directory),
                "log_level": logging.ERROR,
            },
            "VoilaConfiguration": {
                "theme": theme,
                "allow_template_override": "NO",
                "file_allowlist": [],
                "multi_kernel_manager_class": PageKernels,
                "kernel_spec_manager_class": OwnPython,
                "extension_allowlist": _EXTENSIONS,
            },
            "KernelManager": {"transport": "ipc" if len(str(directory)) < _LONGEST else "tcp"},
            "PageKernels": {"variables": variables, "linger_s": linger_s},
        }
    )


def _voila(config: Config) -> Voila:
    app = Voila(config=config)
    # Warnings may contain addresses, and so the token.
    for log in (app.log, logging.getLogger("tornado")):
        log.setLevel(logging.ERROR)
    app.voila_configuration = VoilaConfiguration(parent=app)
    app.setup_template_dirs()
    app.template_paths.insert(0, str(_TEMPLATE))
    app.connection_dir = app.connection_dir_root
    return app
