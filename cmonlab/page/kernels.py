"""The Python processes (kernels) behind pages: they run this interpreter, and end soon after their page."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Dict, Float

_NAME = "python3"
# A page connects after its notebook has run and its scripts are loaded; a busy machine may need minutes for that.
_FIRST_S = 300.0


class OwnPython(KernelSpecManager):
    """Knows one kernel, this interpreter; kernels in the user's directories may run another one."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        # Modules of the current directory must not shadow installed ones.
        argv = [sys.executable, "-P", "-m", "ipykernel", "-f", "{connection_file}"]
        argv += ["--IPKernelApp.ignore_cwd=True"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")

    def get_all_specs(self) -> dict[str, Any]:
        return {_NAME: {"resource_dir": "", "spec": self.get_kernel_spec(_NAME).to_dict()}}


class PageKernels(AsyncMappingKernelManager):
    """The kernels of pages: they run in the current directory, and end when no page is connected.

    The server's own culling of idle kernels does not help, because a dashboard is never idle.
    """

    linger_s = Float(60.0, help="Seconds that a kernel waits for its page to reconnect.").tag(config=True)
    variables = Dict(help="Environment variables of kernels, added to those of this process.").tag(config=True)

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._until: dict[str, float] = {}

    def cwd_for_path(self, path: str, **kwargs: Any) -> str:
        return os.getcwd()

    async def _async_start_kernel(self, *, env: dict[str, str] | None = None, **kwargs: Any) -> str:
        return await super()._async_start_kernel(env=(env or dict(os.environ)) | self.variables, **kwargs)

    # The base class declares a synchronous method but calls it either way.
    start_kernel = _async_start_kernel  # type: ignore[assignment]

    async def end_disconnected(self) -> None:
        """End kernels that have had no page for a while; called periodically."""
        now = time.monotonic()
        known = {name: self._until.get(name, now + _FIRST_S) for name in self.list_kernel_ids()}
        for name, until in known.items():
            if self.kernel_model(name)["connections"]:
                known[name] = now + self.linger_s
            elif now > until:
                await self.shutdown_kernel(name, now=True)
        self._until = known
