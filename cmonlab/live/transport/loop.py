"""An asyncio loop on its own thread, for callers that do not use asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar, TypeVarTuple

from cmonlab.errors import TransportError

from .errors import transport_closed

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
_STOP_S = 5.0


class LoopThread:
    """Runs coroutines for other threads; `name` is the name of the loop's thread."""

    def __init__(self, name: str):
        self._loop = asyncio.new_event_loop()
        # A daemon thread: a process that does not close its transport must end nevertheless.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def call(self, coroutine: Coroutine[object, None, T], timeout_s: float) -> T:
        """Run a coroutine, and wait for its result.

        Parameters
        ----------
        coroutine : coroutine
            Coroutine to run on the loop.
        timeout_s : float
            Longest time to wait, in seconds.

        Returns
        -------
        object
            Result of the coroutine.

        Raises
        ------
        TransportError
            The coroutine took longer than `timeout_s`, or the loop is stopped.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise transport_closed() from None
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            if future.done():
                raise
            raise TransportError(f"no answer from the server in {timeout_s:g} s") from error
        finally:
            future.cancel()

    def soon(self, function: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
        """Call a function on the loop later, in the order of these calls; do nothing after `stop`.

        Parameters
        ----------
        function : callable
            Function to call.
        *arguments
            Its arguments.
        """
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def stop(self) -> None:
        """Cancel all running coroutines, and end the thread."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(TransportError):
            self.call(_cancel_all(), _STOP_S)
        self.soon(self._loop.stop)
        self._thread.join(_STOP_S)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
