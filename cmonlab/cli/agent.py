"""``cmonlab agent``, and the commands that talk to it: rules, live tables, recordings."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cmonlab.errors import TransportError

from . import console
from .rules import app as rules

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Host = Annotated[str, typer.Option(help="Which host's agent; by default the one that answers first.")]
File = Annotated[Path, typer.Argument(help="Rules in YAML, or in JSON where it ends in .json.")]


def run(url: str | None, ready_file: Path | None) -> None:
    """Trace this host until a signal comes; rules are applied from elsewhere.

    Raises
    ------
    CmonlabError
        This host is not usable, or an agent runs already.
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
            console.say("no Docker engine answers: containers are not followed, only interfaces")
        console.say(f"the agent of {service.host} is ready at {url}; stop it with Ctrl-C")
        if ready_file is not None:
            ready_file.write_text(f"{os.getpid()}\n")
            stack.callback(ready_file.unlink, missing_ok=True)
        done.wait()


@rules.command()
def apply(
    file: File,
    replace: Annotated[bool, typer.Option("--replace", help="End all rules that the file does not hold.")] = False,
    host: Host = "",
    as_json: Json = False,
) -> None:
    """Make a file's rules active on a running agent.

    A rule of the same name is changed; others stay, unless --replace is given.
    """
    from cmonlab.live.agent import connect
    from cmonlab.rules import load_rules

    wanted = load_rules(file)
    with connect(host) as agent:
        epoch = agent.apply(wanted, replace)
    names = [rule.name for rule in wanted]
    told = f"epoch {epoch}: {', '.join(names)} active"
    typer.echo(json.dumps({"epoch": epoch, "rules": names}) if as_json else told)


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
    """Print how a running agent fares."""
    from cmonlab.live.agent import connect

    with connect(host) as agent:
        told = agent.status()
    if as_json:
        typer.echo(json.dumps(told))
    else:
        typer.echo("\n".join(f"{name:16} {value}" for name, value in told.items()))


def live(host: str, seconds: float | None, table: str, rows: int, as_json: bool) -> None:
    """Print what rules of mode aggregate measure, a table a second."""
    from cmonlab.live.agent import connect

    names = {"pairs": _PAIRS, "flows": _FLOWS, "segments": None, "drop_counts": None}
    if table not in names:
        from cmonlab.errors import UnknownName

        raise UnknownName("table", table, names)
    with connect(host) as agent, agent.windows() as windows:
        if agent.rules().query("mode == 'aggregate'").empty:
            raise TransportError(
                "no rule of mode aggregate is active",
                why="others hand out no numbers by the second",
                fix="cmonlab rules apply FILE, with a rule of `mode: aggregate`",
            )
        taken = 0
        while seconds is None or taken < seconds:
            window = windows.get(10.0)
            if window is None:
                console.say("nothing was counted for 10 s")
                continue
            taken += 1
            frame = getattr(window, table)()
            if as_json:
                typer.echo(frame.to_json(orient="records", force_ascii=False))
                continue
            shown = frame[names[table] or list(frame.columns[3:])]
            by = "throughput_bps" if "throughput_bps" in shown else shown.columns[-1]
            console.show(shown.sort_values(by, ascending=False).head(rows))
            if len(shown) > rows:
                console.say(f"{rows} of {len(shown)} rows; --rows N shows more")


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
    """Save what a running agent's rules take in the next seconds as a session."""
    from cmonlab.data.store import directory as store
    from cmonlab.live.agent import connect
    from cmonlab.recording.record import check_duration
    from cmonlab.session.rescue import save_somewhere

    from .record import print_session

    store.check_target(out)
    check_duration(seconds)
    with connect(host) as agent:
        session = agent.record(seconds)
    save_somewhere(session, out)
    print_session(session)
    console.say(f"saved to {out}; look at it with: cmonlab report {out}")
