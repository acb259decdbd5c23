"""The Python processes behind pages: this interpreter and no other, and gone soon after their page."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Dict, Float

_NAME = "python3"
# A page connects when its notebook has run and its scripts are there, on a busy machine after minutes.
_FIRST_S = 300.0


class OwnPython(KernelSpecManager):
    """Knows one kernel, this interpreter; what is registered in the user's directories may be another one."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        # Neither the current directory nor the user's site directory is searched for modules.
        argv = [sys.executable, "-P", "-m", "ipykernel", "-f", "{connection_file}"]
        argv += ["--IPKernelApp.ignore_cwd=True"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")

    def get_all_specs(self) -> dict[str, Any]:
        return {_NAME: {"resource_dir": "", "spec": self.get_kernel_spec(_NAME).to_dict()}}


class PageKernels(AsyncMappingKernelManager):
    """Kernels of pages: in the current directory, and ended when nobody looks.

    A dashboard is never idle, so the server's own culling, which goes by activity, would keep it.
    """

    linger_s = Float(60.0, help="How long a kernel outlives its page, which may only reconnect.").tag(config=True)
    variables = Dict(help="Environment of kernels, beside that of this process.").tag(config=True)

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._until: dict[str, float] = {}

    def cwd_for_path(self, path: str, **kwargs: Any) -> str:
        return os.getcwd()

    async def _async_start_kernel(self, *, env: dict[str, str] | None = None, **kwargs: Any) -> str:
        return await super()._async_start_kernel(env=(env or dict(os.environ)) | self.variables, **kwargs)

    start_kernel = _async_start_kernel

    async def end_lonely(self) -> None:
        """End kernels that have had no page for a while; to be called now and then."""
        now = time.monotonic()
        known = {name: self._until.get(name, now + _FIRST_S) for name in self.list_kernel_ids()}
        for name, until in known.items():
            if self.kernel_model(name)["connections"]:
                known[name] = now + self.linger_s
            elif now > until:
                await self.shutdown_kernel(name, now=True)
        self._until = known
