"""Serves one notebook of ours as a page, through Voilà, on loopback and behind a token."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import shutil
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
from cmonlab.system import tempdirs as scratch

from .gate import HEADERS, gated
from .kernels import OwnPython, PageKernels
from .visit import THEME_VARIABLE

_DASHBOARD = Path(__file__).with_name("dashboard.ipynb")
_TEMPLATE = Path(__file__).with_name("template")
_START_S, _STOP_S = 20.0, 15.0
_LOOK_S = 1.0
# A page on a busy machine may not answer for a while.
_PING_MS = 60_000
# Kernels are talked to through sockets in our directory, which others cannot reach, unless their path (107 bytes at
# most, of which a kernel's name takes 50) would be too long; then through ports that ask for a key.
_LONGEST = 56
_EXTENSIONS = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


class PageServer:
    """A page on loopback, each visit with a kernel of its own; a context manager.

    Parameters
    ----------
    notebook : Path
        What is run for each visit; its outputs are the page.
    port : int
        0 for a free one.
    token : str, optional
        Who has it is let in; 16 to 128 letters, digits, ``-`` and ``_``. By default a random one.
    theme : str
        ``"light"`` or ``"dark"``.
    variables : mapping of str to str
        Environment of the kernels, beside that of this process.
    linger_s : float
        How long a kernel outlives its page when the browser does not say goodbye.

    Attributes
    ----------
    url : str
        Address with the token.
    port : int
    directory : Path
        Private files, gone with the server.

    Raises
    ------
    PageError
        The token is none, or the port is not to be had.
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
        self.directory = Path(tempfile.mkdtemp(prefix=scratch.prefix()))
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
        server = HTTPServer(gated(self._token, application))
        server.add_sockets(self._sockets)
        look = PeriodicCallback(kernels.end_lonely, _LOOK_S * 1000)
        look.start()
        self._ready.set_result(None)
        await self._ended.wait()
        look.stop()
        server.stop()
        await kernels.shutdown_all(now=True)
        await server.close_all_connections()

    def close(self) -> None:
        """End the server and its kernels; may be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(_STOP_S)
        for socket in self._sockets:
            socket.close()
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
            "the token is not one to rely on",
            why="it must be 16 to 128 letters, digits, '-' and '_'",
            fix="python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token


def _listen(port: int) -> list:
    try:
        return bind_sockets(port, "127.0.0.1")
    except (OSError, OverflowError) as error:
        raise PageError(
            f"port {port} of loopback is not to be had", why=str(error), fix="another --port, or none for a free one"
        ) from error


def _config(
    notebook: Path, token: str, theme: str, directory: Path, variables: dict[str, str], linger_s: float
) -> Config:
    """Return all of the configuration: no file of the user's or of the current directory is read."""
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
    # Warnings hold addresses, and so the token.
    for log in (app.log, logging.getLogger("tornado")):
        log.setLevel(logging.ERROR)
    app.voila_configuration = VoilaConfiguration(parent=app)
    app.setup_template_dirs()
    app.template_paths.insert(0, str(_TEMPLATE))
    app.connection_dir = app.connection_dir_root
    return app
