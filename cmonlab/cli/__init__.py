"""The command ``cmonlab``."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys

from cmonlab.errors import CmonlabError
from cmonlab.system.signals import SIGNALS

_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_INTERRUPTED = 130  # what a shell makes of Ctrl-C


def main() -> None:
    """Run the command line; every expected error is one message and exit code 1."""
    _catch_signals()
    try:
        # An interrupt may come during the imports, too.
        from .app import app

        code = app(standalone_mode=False, prog_name="cmonlab")
        sys.stdout.flush()
    except CmonlabError as error:
        _complain(error)
        code = 1
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        code = _reader_gone()
    except Exception as error:
        code = _exhausted(error) or _usage(error)
    if code == _INTERRUPTED:
        _complain("interrupted; everything that cmonlab had created has been removed")
    sys.exit(code if isinstance(code, int) else 0)


def _complain(error: CmonlabError | str) -> None:
    from .console import complain

    with contextlib.suppress(OSError):
        complain(error)


def _catch_signals() -> None:
    """Let the first signal end the command; later ones must not interrupt the removal."""
    taken: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        if taken:
            os.write(2, b"\nalready stopping and removing what cmonlab created; wait a moment\n")
            return
        taken.append(number)
        raise KeyboardInterrupt

    for number in SIGNALS:
        # nohup and a shell's `&` request that a signal is ignored.
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def _reader_gone() -> int:
    """Stop silently: the reader of our output has gone (`| head`), which is not an error."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _exhausted(error: Exception) -> int:
    """Report that disk space, memory or another resource is exhausted; return 0 for any other error."""
    if getattr(error, "errno", None) not in _EXHAUSTED:
        return 0
    _complain(
        CmonlabError("this machine has run out of a resource", why=str(error), fix="free it and run the command again")
    )
    return 1


def _usage(error: Exception) -> int:
    """Show a usage error as the command-line library does; raise any other error again."""
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if code is None:
        raise error
    if show is not None:
        show()
    return code
