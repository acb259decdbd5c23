"""The command ``cmonlab``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from ..errors import CmonlabError


def main() -> None:
    """Run the command line; every expected error is one message and exit code 1."""
    from .app import app
    from .console import complain

    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(standalone_mode=False, prog_name="cmonlab")
        sys.stdout.flush()
    except CmonlabError as error:
        complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        complain("interrupted; what was made has been removed")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): not an error, and nothing to flush to.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        sys.exit(_usage(error))


def _terminate(*_) -> None:
    raise KeyboardInterrupt


def _usage(error: Exception) -> int:
    """Show a usage error as the command line library does; let anything else through."""
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if code is None:
        raise error
    if show is not None:
        show()
    return code
