"""``cmonlab agent``, and the commands that use an agent: rules, status, live tables, recordings."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmonlab.errors import TransportError, UnknownName

from . import console
from .rules import app as rules

if TYPE_CHECKING:
    import pandas as pd

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Host = Annotated[str, typer.Option(help="Host of the agent; by default the agent that answers first.")]
File = Annotated[Path, typer.Argument(help="File of rules: JSON if its name ends in .json, else YAML.")]


def run(url: str | None, ready_file: Path | None) -> None:
    """Run an agent until a signal arrives.

    Parameters
    ----------
    url : str or None
        Address of a NATS server, ``nats://host:port``; None starts one.
    ready_file : Path or None
        Exists while the agent is ready; it has the process's number.

    Raises
    ------
    CmonlabError
        This host cannot trace, or an agent runs already.
    """
    from cmonlab.lab.docker.client import connect as connect_docker
    from cmonlab.lab.docker.place import HERE
    from cmonlab.live.agent.service import Service
    from cmonlab.live.transport import NatsServer, connect, remove_endpoint, write_endpoint

    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with ExitStack() as stack:
        token = os.environ.get("CMONLAB_NATS_TOKEN")
        if url is None:
            server = stack.enter_context(NatsServer())
            url, token = server.url, server.token
        transport = stack.enter_context(connect(url, token))
        docker = connect_docker() or HERE.connect()
        service = stack.enter_context(Service(transport, docker))
        write_endpoint(url, token)
        stack.callback(remove_endpoint)
        if docker is None:
            console.say("no Docker engine answers: only interfaces are followed, not containers")
        console.say(f"the agent of {service.host} is ready at {url}; stop it with Ctrl-C")
        if ready_file is not None:
            ready_file.write_text(f"{os.getpid()}\n")
            stack.callback(ready_file.unlink, missing_ok=True)
        done.wait()


@rules.command()
def apply(
    file: File,
    replace: Annotated[bool, typer.Option("--replace", help="End all rules that are not in the file.")] = False,
    host: Host = "",
    as_json: Json = False,
) -> None:
    """Make the rules of a file active on a running agent.

    A rule replaces an active one of the same name. Other rules stay, unless --replace is given.
    """
    from cmonlab.live.agent import connect
    from cmonlab.rules import load_rules

    wanted = load_rules(file)
    with connect(host) as agent:
        epoch = agent.apply(wanted, replace)
    names = [rule.name for rule in wanted]
    message = f"epoch {epoch}: {', '.join(names)} active"
    typer.echo(json.dumps({"epoch": epoch, "rules": names}) if as_json else message)


@rules.command(name="list")
def list_(host: Host = "", as_json: Json = False) -> None:
    """Show the rules that are active on a running agent."""
    from cmonlab.live.agent import connect

    with connect(host) as agent:
        table = agent.rules()
    if as_json:
        typer.echo(table.to_json(orient="records", force_ascii=False))
    elif table.empty:
        typer.echo("no rule is active")
    else:
        console.show(table)


@rules.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="Names of active rules.")], host: Host = "", as_json: Json = False
) -> None:
    """End rules on a running agent."""
    from cmonlab.live.agent import connect

    with connect(host) as agent:
        epoch = agent.remove(*names)
    typer.echo(json.dumps({"epoch": epoch}) if as_json else f"epoch {epoch}: {', '.join(names)} ended")


def status(host: str, as_json: bool) -> None:
    """Print the status of a running agent.

    Parameters
    ----------
    host : str
        Host of the agent; empty: the agent that answers first.
    as_json : bool
        Print one JSON object instead of a line per value.
    """
    from cmonlab.live.agent import connect

    with connect(host) as agent:
        values = agent.status()
    if as_json:
        typer.echo(json.dumps(values))
    else:
        typer.echo("\n".join(f"{name:16} {value}" for name, value in values.items()))


def live(host: str, seconds: float | None, table: str, rows: int, as_json: bool) -> None:
    """Print what rules of mode aggregate measure, one table per window (a second by default).

    Parameters
    ----------
    host : str
        Host of the agent; empty: the agent that answers first.
    seconds : float or None
        Number of windows to print; None: until Ctrl-C.
    table : {"pairs", "flows", "segments", "drop_counts"}
        Which table of a window.
    rows : int
        Rows to print per window.
    as_json : bool
        Print a line of JSON per window.

    Raises
    ------
    UnknownName
        There is no such table.
    TransportError
        No agent answers, or it has no rule of mode aggregate.
    """
    from cmonlab.live.agent import connect

    names = {"pairs": _PAIRS, "flows": _FLOWS, "segments": None, "drop_counts": None}
    if table not in names:
        raise UnknownName("table", table, names)
    with connect(host) as agent, agent.windows() as windows:
        if agent.rules().query("mode == 'aggregate'").empty:
            raise TransportError(
                "no rule of mode aggregate is active",
                why="rules of other modes do not send numbers every second",
                fix="cmonlab rules apply FILE, with a rule of `mode: aggregate`",
            )
        printed = 0
        while seconds is None or printed < seconds:
            window = windows.get(10.0)
            if window is None:
                console.say("no packet matched for 10 s")
                continue
            printed += 1
            frame = getattr(window, table)()
            if as_json:
                typer.echo(frame.to_json(orient="records", force_ascii=False))
            else:
                _print_window(frame[names[table] or list(frame.columns[3:])], rows)


def _print_window(table: pd.DataFrame, rows: int) -> None:
    by = "throughput_bps" if "throughput_bps" in table else table.columns[-1]
    console.show(table.sort_values(by, ascending=False).head(rows))
    if len(table) > rows:
        console.say(f"{rows} of {len(table)} rows; --rows N shows more")


_PAIRS = [
    "direction",
    "packets_sent",
    "packets_arrived",
    "throughput_bps",
    "dropped",
    "retransmissions",
    "one_way_delay_p50_ns",
    "one_way_delay_p99_ns",
    "srtt_p50_ns",
]
_FLOWS = ["direction", "proto", "sport", "dport", *_PAIRS[1:]]


def collect(out: Path, seconds: float, host: str) -> None:
    """Record what a running agent's rules match, and save it as a session.

    Parameters
    ----------
    out : Path
        New directory for the session.
    seconds : float
        How long to record.
    host : str
        Host of the agent; empty: the agent that answers first.

    Raises
    ------
    CmonlabError
        No agent answers, or `out` cannot be written.
    """
    from cmonlab.data.store.directory import check_target
    from cmonlab.live.agent import connect
    from cmonlab.recording.record import check_duration
    from cmonlab.session.rescue import save_somewhere

    from .record import print_session

    check_target(out)
    check_duration(seconds)
    with connect(host) as agent:
        session = agent.record(seconds)
    save_somewhere(session, out)
    print_session(session)
    console.say(f"saved to {out}; look at it with: cmonlab report {out}")
