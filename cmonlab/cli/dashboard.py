"""``cmonlab dashboard``: the dashboard as a page, of an agent that runs or of a lab of its own."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import webbrowser
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from cmonlab.errors import PageError

from . import console

TOKEN_VARIABLE = "CMONLAB_DASHBOARD_TOKEN"
THEMES = ("light", "dark")
# A client and a server that go as fast as they can take two processors; as many are left to what shows them.
_PROCESSORS_A_PAIR = 4


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    url: str | None
    host: str
    template: str | None
    containers: int
    workload: str
    port: int
    theme: str
    browser: bool


def run(request: Request) -> None:
    """Serve the page until Ctrl-C; then end all that was started.

    Raises
    ------
    CmonlabError
        The packages for pages are missing, no agent answers, or this host is not usable.
    """
    server = _page_server()
    with ExitStack() as stack:
        variables = _of_lab(stack, request) if request.template else _of_agent(request)
        page = stack.enter_context(
            server(port=request.port, token=os.environ.get(TOKEN_VARIABLE), theme=request.theme, variables=variables)
        )
        typer.echo(page.url)
        console.say("whoever has this address sees and controls the agent; stop with Ctrl-C")
        if request.browser:
            _show(page.url, page.directory)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def _page_server() -> Any:
    """Return the class, before anything is started that would be in vain."""
    try:
        from cmonlab.page.server import PageServer
    except ImportError as error:
        raise PageError(
            "the packages that serve pages are missing", why=str(error), fix="pip install 'cmonlab[notebook]'"
        ) from error
    return PageServer


def _of_agent(request: Request) -> dict[str, str]:
    """Return how kernels reach the agent that runs."""
    from cmonlab.live.agent import connect
    from cmonlab.live.transport import read_endpoint

    found = None if request.url else read_endpoint()
    url, token = (found.url, found.token) if found else (request.url, os.environ.get("CMONLAB_NATS_TOKEN"))
    with connect(request.host, url, token) as agent:
        return _variables(url, token, agent.host)


def _of_lab(stack: ExitStack, request: Request) -> dict[str, str]:
    """Deploy containers that talk, start an agent in this process, and return how kernels reach it."""
    from cmonlab.lab.topology.templates.registry import template
    from cmonlab.lab.workload import workload
    from cmonlab.live.agent.service import Service
    from cmonlab.live.transport import NatsServer, connect
    from cmonlab.rules import Rule
    from cmonlab.tracing import preflight

    from .background_load import Traffic

    topology = template(request.template, containers=request.containers)
    workload(request.workload)
    preflight.require()
    lab = stack.enter_context(topology.deploy(notify=console.say))
    nats = stack.enter_context(NatsServer())
    transport = stack.enter_context(connect(nats.url, nats.token))
    names = {container.id: name for name, container in lab.containers.items()}
    service = stack.enter_context(Service(transport, lab.client, names))
    service.agent.apply([Rule(name="dashboard", match="", mode="aggregate")])
    short, busy = list(lab.containers), max(1, (os.cpu_count() or 1) // _PROCESSORS_A_PAIR)
    pairs = list(zip(short[::2], short[1::2], strict=False))[:busy]
    workloads = [workload(request.workload, server=server, client=client) for server, client in pairs]
    stack.enter_context(Traffic(lab, workloads, console.complain))
    return _variables(nats.url, nats.token, service.host, short)


def _variables(url: str, token: str | None, host: str, containers: list[str] | None = None) -> dict[str, str]:
    from cmonlab.page.visit import CONTAINERS_VARIABLE, HOST_VARIABLE

    told = {"CMONLAB_NATS_URL": url, "CMONLAB_NATS_TOKEN": token or "", HOST_VARIABLE: host}
    return told | {CONTAINERS_VARIABLE: json.dumps(containers)}


def _show(url: str, directory: Path) -> None:
    """Open the page in the user's browser, if there is one.

    It is led there by a private file: arguments of a process, its address for instance, can be seen by all.
    """
    if os.geteuid() == 0 or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return  # root's browser is not the user's, and none should run as root
    file = directory / "open.html"
    file.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">')
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(file.as_uri())
