"""An asyncio loop on a thread of its own, for callers that know nothing of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from cmonlab.errors import TransportError

from .errors import closed

T = TypeVar("T")
_STOP_S = 5.0


class LoopThread:
    """Runs coroutines for other threads."""

    def __init__(self, name: str):
        self._loop = asyncio.new_event_loop()
        # A daemon: a process that forgets to close a transport must still end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Run a coroutine and return its result.

        Raises
        ------
        TransportError
            It took longer than `timeout_s`, or the loop is stopped.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise closed() from None
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            if future.done():
                raise
            raise TransportError(f"no answer from the server in {timeout_s:g} s") from error
        finally:
            future.cancel()

    def soon(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a function called on the loop, in the order of these calls; nothing after `stop`."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def stop(self) -> None:
        """Cancel what runs, and end the thread."""
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
