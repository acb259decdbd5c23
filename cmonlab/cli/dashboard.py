"""``cmonlab dashboard``: the dashboard as a web page, of a running agent or of a new lab."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import webbrowser
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cmonlab.errors import PageError

from . import console

if TYPE_CHECKING:
    from cmonlab.page.server import PageServer

TOKEN_VARIABLE = "CMONLAB_DASHBOARD_TOKEN"
THEMES = ("light", "dark")
# A client and a server at full speed take two CPUs; the agent, the dashboard and the browser need as many.
_CPUS_PER_PAIR = 4


@dataclass(frozen=True)
class Request:
    """The options of the command.

    Attributes
    ----------
    url : str or None
        NATS server of the agent; None: the server of this host's agent.
    host : str
        Host of the agent; empty: the agent that answers first.
    template : str or None
        Deploy a lab of this template.
    containers : int
        How many containers the template has.
    workload : str
        What runs between the containers.
    port : int
        Port of the page; 0 for a free one.
    theme : {"light", "dark"}
        Colours of the page.
    browser : bool
        Whether to open the page in a browser.
    """

    url: str | None
    host: str
    template: str | None
    containers: int
    workload: str
    port: int
    theme: str
    browser: bool


def run(request: Request) -> None:
    """Serve the page until Ctrl-C, then end everything that was started.

    Raises
    ------
    CmonlabError
        The packages for pages are missing, no agent answers, or this host cannot trace.
    """
    server = _page_server()
    with ExitStack() as stack:
        variables = _of_lab(stack, request, request.template) if request.template else _of_agent(request)
        page = stack.enter_context(
            server(port=request.port, token=os.environ.get(TOKEN_VARIABLE), theme=request.theme, variables=variables)
        )
        typer.echo(page.url)
        console.say("everyone who has this address can see and control the agent; stop with Ctrl-C")
        if request.browser:
            _show(page.url, page.directory)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def _page_server() -> type[PageServer]:
    """Return the class; this fails before anything is started."""
    try:
        from cmonlab.page.server import PageServer
    except ImportError as error:
        raise PageError(
            "the packages that serve pages are missing", why=str(error), fix="pip install 'cmonlab[notebook]'"
        ) from error
    return PageServer


def _of_agent(request: Request) -> dict[str, str]:
    """Return the environment variables with which kernels connect to the running agent."""
    from cmonlab.live.agent import connect
    from cmonlab.live.transport import read_endpoint

    found = None if request.url else read_endpoint()
    url, token = (found.url, found.token) if found else (request.url, os.environ.get("CMONLAB_NATS_TOKEN"))
    with connect(request.host, url, token) as agent:
        return _variables(url, token, agent.host)


def _of_lab(stack: ExitStack, request: Request, name: str) -> dict[str, str]:
    """Deploy a lab with traffic, start an agent in this process, and return the variables to connect to it."""
    from cmonlab.lab.topology.templates.registry import template
    from cmonlab.lab.workload import workload
    from cmonlab.live.agent.service import Service
    from cmonlab.live.transport import NatsServer, connect
    from cmonlab.rules import Rule
    from cmonlab.tracing import preflight

    from .background_load import Traffic

    topology = template(name, containers=request.containers)
    workload(request.workload)
    preflight.require()
    lab = stack.enter_context(topology.deploy(notify=console.say))
    nats = stack.enter_context(NatsServer())
    transport = stack.enter_context(connect(nats.url, nats.token))
    names = {container.id: name for name, container in lab.containers.items()}
    service = stack.enter_context(Service(transport, lab.client, names))
    service.agent.apply([Rule(name="dashboard", match="", mode="aggregate")])
    short, busy = list(lab.containers), max(1, (os.cpu_count() or 1) // _CPUS_PER_PAIR)
    pairs = list(zip(short[::2], short[1::2], strict=False))[:busy]
    workloads = [workload(request.workload, server=server, client=client) for server, client in pairs]
    stack.enter_context(Traffic(lab, workloads, console.complain))
    return _variables(nats.url, nats.token, service.host, short)


def _variables(url: str | None, token: str | None, host: str, containers: list[str] | None = None) -> dict[str, str]:
    from cmonlab.page.visit import CONTAINERS_VARIABLE, HOST_VARIABLE

    return {
        "CMONLAB_NATS_URL": url or "",
        "CMONLAB_NATS_TOKEN": token or "",
        HOST_VARIABLE: host,
        CONTAINERS_VARIABLE: json.dumps(containers),
    }


def _show(url: str, directory: Path) -> None:
    """Open the page in the user's browser, if there is one.

    A private file leads it there, because every user can read the arguments of a process, and so the address.
    """
    if os.geteuid() == 0 or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return  # a browser should not run as root
    file = directory / "open.html"
    file.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">')
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(file.as_uri())
