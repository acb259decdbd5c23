"""The commands of ``cmonlab``, one function per command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cmonlab.errors import TopologyError, UnknownName
from cmonlab.schema import SESSION_TABLES

from . import agent as agents
from . import artifact, console, rules

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Measure the networks of containers: trace packets hop by hop with eBPF.",
)

_FORMATS = ("table", "json", "csv")
Workload = Annotated[str, typer.Option(help="memcached, iperf-tcp, iperf-udp, sockperf-tcp or sockperf-udp.")]
Expression = Annotated[
    str | None, typer.Option(help="pcap expression; by default the workload's own traffic; '' for all IP packets.")
]
Points = Annotated[str | None, typer.Option(help="Probe points or groups of them, separated by commas.")]
RulesFile = Annotated[Path | None, typer.Option("--rules", help="A file of rules, instead of --rule and --points.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
app.add_typer(rules.app, name="rules")
app.add_typer(artifact.app, name="artifact")


def _version(wanted: bool) -> None:
    if wanted:
        from cmonlab import __version__

        typer.echo(f"cmonlab {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check what this host can trace.

    It says how to fix what is missing. The exit code is 1 when this host cannot trace.
    """
    from .doctor import examine

    if not examine(as_json):
        raise typer.Exit(1)


@app.command()
def record(
    out: Annotated[Path, typer.Option(help="New directory for the session.")],
    template: Annotated[str, typer.Option(help="Network template: bridge, host, macvlan or vxlan.")] = "bridge",
    containers: Annotated[int, typer.Option(help="How many containers.")] = 2,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Another parameter of the template, for example hosts=3; may be given several times.",
        ),
    ] = None,
    workload: Workload = "memcached",
    rule: Expression = None,
    duration: Annotated[float, typer.Option(help="Seconds that the workload runs.")] = 10.0,
    points: Points = None,
    rules_file: RulesFile = None,
    overhead: Annotated[
        bool, typer.Option("--overhead", help="First measure the tracing overhead, in 14 more runs of one second.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Deploy containers, run a workload, and record its packets."""
    from .record import Request, record_one

    parameters = {"containers": containers} | dict(map(_parameter, settings or []))
    request = Request(out, template, parameters, workload, rules_file or rule, duration, _names(points), overhead)
    record_one(request, as_json)


def _parameter(text: str) -> tuple[str, str | int]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise TopologyError(f"--set {text!r} sets nothing", fix="write --set NAME=VALUE, for instance --set hosts=3")
    return name, int(value) if value.lstrip("-").isdecimal() else value


@app.command()
def overhead(
    workload: Workload = "memcached",
    rule: Expression = None,
    rules_file: RulesFile = None,
    points: Points = None,
    rounds: Annotated[int, typer.Option(help="Number of rounds; fewer than five give no confidence intervals.")] = 10,
    round_seconds: Annotated[float, typer.Option(help="Seconds that the workload runs in each round.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Directory for overhead.json and report.html.")] = Path("runs/overhead"),
    as_json: Json = False,
) -> None:
    """Measure how tracing slows down a workload.

    The workload runs in traced and untraced rounds, interleaved.
    """
    from .overhead import Request, run

    run(Request(out, workload, rules_file or rule, _names(points), rounds, round_seconds), as_json)


def _names(points: str | None) -> list[str] | None:
    return [name.strip() for name in points.split(",") if name.strip()] if points is not None else None


@app.command()
def show(
    directory: Annotated[Path, typer.Argument(help="Directory of a session.")],
    table: Annotated[str, typer.Option(help=f"Which table: {', '.join(SESSION_TABLES)}.")] = "breakdown",
    format: Annotated[str, typer.Option(help="How to print it: table, json or csv.")] = "table",
    rows: Annotated[int, typer.Option(min=1, help="How many rows --format table prints at most.")] = 50,
) -> None:
    """Print a table of a session."""
    from cmonlab.session.session import open

    if format not in _FORMATS:
        raise UnknownName("format", format, _FORMATS)
    frame = open(directory).table(table)
    if format == "json":
        typer.echo(frame.to_json(orient="records", force_ascii=False))
    elif format == "csv":
        typer.echo(frame.to_csv(index=False), nl=False)
    else:
        console.show(frame.head(rows))
        if len(frame) > rows:
            console.say(f"{rows} of {len(frame):,} rows; --rows N shows more, --format csv all")


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="Directory of a session.")],
    out: Annotated[Path | None, typer.Option(help="File to write; by default report.html in the directory.")] = None,
) -> None:
    """Write a session's figures and tables as one HTML file."""
    from cmonlab.session.report.page import write_report
    from cmonlab.session.report.sections import run_report
    from cmonlab.session.session import open

    session = open(directory)
    name = (session.manifest.get("workload") or {}).get("name") or directory.name
    typer.echo(write_report(out or directory / "report.html", [run_report(session, name)]))


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(help="Directory of a session.")],
    to: Annotated[Path, typer.Option(help="New file: .pcapng, .perfetto-trace, .csv, .arrow or .tex.")],
    table: Annotated[
        str | None, typer.Option(help="Which table, for .csv, .arrow and .tex; by default breakdown.")
    ] = None,
    journeys: Annotated[
        int | None,
        typer.Option(help="How many journeys, for .pcapng and .perfetto-trace; half of them are the slowest ones."),
    ] = None,
    packets: Annotated[str | None, typer.Option(help="What a packet in .pcapng stands for: journeys or hops.")] = None,
) -> None:
    """Write a session, or one of its tables, for other programs."""
    from cmonlab.session.session import open

    typer.echo(open(directory).export(to, table=table, journeys=journeys, packets=packets))


@app.command()
def agent(
    url: Annotated[
        str | None, typer.Option(help="A NATS server (token in CMONLAB_NATS_TOKEN); by default one is started.")
    ] = None,
    ready_file: Annotated[Path | None, typer.Option(help="File that exists while the agent is ready.")] = None,
) -> None:
    """Run an agent that traces this host until Ctrl-C.

    It gets its rules from `cmonlab rules apply`, or from a notebook (`cm.agent.connect()`).
    """
    agents.run(url, ready_file)


@app.command()
def status(host: agents.Host = "", as_json: Json = False) -> None:
    """Print the status of a running agent."""
    agents.status(host, as_json)


@app.command()
def live(
    table: Annotated[str, typer.Argument(help="pairs, flows, segments or drop_counts.")] = "pairs",
    seconds: Annotated[float | None, typer.Option(help="How many windows to print; by default until Ctrl-C.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to print per window.")] = 30,
    host: agents.Host = "",
    as_json: Json = False,
) -> None:
    """Print what rules of mode aggregate measure, every second."""
    agents.live(host, seconds, table, rows, as_json)


@app.command()
def dashboard(
    url: Annotated[
        str | None, typer.Option(help="NATS server of an agent (token in CMONLAB_NATS_TOKEN); by default this host's.")
    ] = None,
    host: agents.Host = "",
    template: Annotated[str | None, typer.Option(help="Deploy containers of this template, and show them.")] = None,
    containers: Annotated[int, typer.Option(help="How many containers the template has.")] = 4,
    workload: Annotated[
        str, typer.Option(help="Workload that runs between them, as in `cmonlab record`.")
    ] = "memcached",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 for a free one.")] = 0,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Serve the live dashboard as a web page on loopback.

    It shows the agent of this host, or of another one (--url). With --template, it deploys a lab, starts an agent,
    and shows these. The page ends with Ctrl-C. Its address has a random token, or the one in CMONLAB_DASHBOARD_TOKEN.
    """
    from .dashboard import THEMES, Request, run

    if theme not in THEMES:
        raise UnknownName("theme", theme, THEMES)
    run(Request(url, host, template, containers, workload, port, theme, browser))


@app.command()
def collect(
    out: Annotated[Path, typer.Option(help="New directory for the session.")],
    seconds: Annotated[float, typer.Option(help="How long to record.")] = 10.0,
    host: agents.Host = "",
) -> None:
    """Record what a running agent's rules match, and save it."""
    agents.collect(out, seconds, host)


@app.command()
def calibrate(
    out: Annotated[Path, typer.Option(help="Directory for calibrate.json and report.html.")] = Path("runs/calibrate"),
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run this group of checks only; may be given several times.", metavar="GROUP"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer packets: a quick test, not evidence.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list of checks as JSON.")] = False,
) -> None:
    """Check cmonlab against reference values, on this machine.

    It runs scenarios whose delays, losses, counts and rates are known, and compares what cmonlab reports.
    The exit code is 1 when a check fails.
    """
    from .calibrate import run

    if not run(out, only or [], quick, as_json):
        raise typer.Exit(1)


@app.command()
def clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Also remove what running processes of cmonlab still use.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove what a crash left behind.

    This may be containers, networks, namespaces, temporary directories, and a Docker engine that cmonlab started.
    """
    from cmonlab.lab.topology.deploy import clean_host
    from cmonlab.live.transport import remove_stale
    from cmonlab.study.testbed.testbed import remove_testbeds
    from cmonlab.system.tempdirs import remove_scratch

    removed = remove_stale() + remove_scratch() + remove_testbeds() + clean_host(all=everything, notify=console.say)
    if as_json:
        typer.echo(json.dumps({"removed": removed}))
    else:
        typer.echo("\n".join(f"removed {name}" for name in removed) or "nothing to remove")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Directory for the sessions and report.html.")] = Path("runs/demo"),
    duration: Annotated[float, typer.Option(help="Seconds that each workload runs.")] = 5.0,
) -> None:
    """Trace memcached and iperf3, and write a report."""
    from .demo import run

    run(out, duration)
