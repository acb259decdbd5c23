"""The process of cmonlab's own Docker engine: start it, find it again, stop it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cmonlab.errors import DockerError

from . import firewall
from .place import Place

# dockerd looks for containerd, runc and iptables, which sudo's PATH may lack.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STOP_DEADLINE_S = 30


def _command(place: Place) -> list[str]:
    return [
        str(shutil.which("dockerd", path=PATH)),
        # Otherwise dockerd reads /etc/docker/daemon.json, which is meant for another engine.
        f"--config-file={place.run}/daemon.json",
        f"--data-root={place.data}",
        f"--exec-root={place.run}/exec",
        f"--pidfile={place.run}/docker.pid",
        f"--host=unix://{place.socket}",
        "--bridge=none",
        # The system's containerd may serve another dockerd at the same time.
        "--containerd-namespace=cmonlab",
        "--containerd-plugins-namespace=cmonlab-plugins",
    ]


def start(place: Place, answers: Callable[[], bool], deadline_s: float) -> None:
    """Start dockerd and wait until it answers.

    Parameters
    ----------
    place : Place
        Its directories.
    answers : callable
        Returns whether it answers.
    deadline_s : float
        How long to wait, in s.

    Raises
    ------
    DockerError
        It ended early or did not answer in time; quotes the end of its log.
    """
    _remove_stale(place)
    (place.run / "daemon.json").write_text("{}\n")
    firewall.save(place.run / "firewall.json")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")} | {"PATH": PATH}
    with place.log.open("wb") as log:
        # In a new session: Ctrl-C at our terminal must not end the engine before its containers are removed.
        process = subprocess.Popen(
            _command(place), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    deadline = time.monotonic() + deadline_s
    try:
        while not answers():
            if process.poll() is not None:
                raise DockerError(
                    f"dockerd ended with code {process.returncode}", why=log_tail(place.log), fix=f"see {place.log}"
                )
            if time.monotonic() > deadline:
                raise DockerError(
                    f"dockerd does not answer after {deadline_s:g} s", why=log_tail(place.log), fix=f"see {place.log}"
                )
            time.sleep(0.05)
    except BaseException:
        _end(process.pid, "dockerd", place.log)
        _sweep(place)
        firewall.restore(place.run / "firewall.json")
        raise
    finally:
        # `stop` reaps it if it runs in this process, else init does; Popen must not warn about it.
        process.returncode = process.returncode or 0


def log_tail(log: Path, lines: int = 8) -> str:
    """Return the last lines of a log, for a message.

    Parameters
    ----------
    log : Path
    lines : int
        How many.
    """
    try:
        return "\n       ".join(log.read_text(errors="replace").splitlines()[-lines:]) or f"{log} is empty"
    except OSError as error:
        return str(error)


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def running(place: Place) -> int | None:
    """Return the pid of our engine, None if it does not run.

    After a crash the pid in its file may belong to another process, so the command line is compared too.
    """
    pid = _read_pid(place.run / "docker.pid")
    return pid if pid is not None and f"--data-root={place.data}" in _arguments(pid) else None


def _containerd(place: Place) -> int | None:
    """Return the pid of the containerd that our dockerd started."""
    pid = _read_pid(place.run / "exec/containerd/containerd.pid")
    return pid if pid is not None and f"{place.run}/exec/containerd/containerd.toml" in _arguments(pid) else None


def stop(pid: int, place: Place) -> None:
    """Stop dockerd and its containerd, and undo their changes to the firewall.

    Parameters
    ----------
    pid : int
        Of dockerd.
    place : Place
        Its directories.

    Raises
    ------
    DockerError
        It does not end.
    """
    _end(pid, "dockerd", place.log)
    _sweep(place)
    firewall.restore(place.run / "firewall.json")


def left_behind(place: Place) -> bool:
    """Return whether our engine, or the machine, stopped before the engine's containers were removed."""
    containers = place.data / "containers"
    died = (place.run / "firewall.json").exists() or (containers.is_dir() and any(containers.iterdir()))
    return died and running(place) is None


def _end(pid: int, name: str, log: Path) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number, seconds in ((signal.SIGTERM, _STOP_DEADLINE_S), (signal.SIGKILL, 5)):
            signal.pidfd_send_signal(handle, number)
            if select.select([handle], [], [], seconds)[0]:
                # If it is our child, it must not remain a zombie.
                _reap(pid)
                return
    except ProcessLookupError:
        _reap(pid)
        return
    finally:
        os.close(handle)
    raise DockerError(f"{name} (pid {pid}) does not end", why=log_tail(log), fix=f"kill -9 {pid}")


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _remove_stale(place: Place) -> None:
    """Remove pid files of processes that have ended: dockerd would wait for those processes."""
    if running(place) is None:
        (place.run / "docker.pid").unlink(missing_ok=True)
    if _containerd(place) is None:
        (place.run / "exec/containerd/containerd.pid").unlink(missing_ok=True)


def _sweep(place: Place) -> None:
    """End the processes and unmount the file systems that a killed dockerd left."""
    for pid in _left_over_processes(place):
        _end(pid, "process", place.log)
    for point in reversed(_mounts(place)):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    _remove_stale(place)
    place.socket.unlink(missing_ok=True)


def _left_over_processes(place: Place) -> list[int]:
    """Return our containerd and its shims."""
    found = [pid] if (pid := _containerd(place)) else []
    socket = f"{place.run}/exec/containerd/containerd.sock"
    for entry in Path("/proc").iterdir():
        arguments = _arguments(int(entry.name)) if entry.name.isdigit() else []
        if arguments and "containerd-shim" in arguments[0] and socket in arguments:
            found.append(int(entry.name))
    return found


def _mounts(place: Place) -> list[str]:
    """Return mount points below our directories, outermost first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == str(place.data) or point.startswith((f"{place.data}/", f"{place.run}/")):
            points.append(point)
    return sorted(points)
