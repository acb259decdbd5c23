"""``cmonlab rules``: check rules, explain what they do, and print their schema."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmonlab.errors import CmonlabError

from . import console

if TYPE_CHECKING:
    from cmonlab.rules.explain import Explanation
    from cmonlab.rules.model import ContainerFacts

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check and explain rules; apply them to an agent.")

#: Fields of an explanation that have another name in the JSON output, which scripts read.
_JSON_NAMES = {"rule": "standard", "containers_summary": "containers_told"}

File = Annotated[Path, typer.Argument(help="File of rules: JSON if its name ends in .json, else YAML.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def check(file: File, as_json: Json = False) -> None:
    """Check whether the rules of a file are valid."""
    from cmonlab.points.catalogue import BY_NAME
    from cmonlab.rules import compile_rules, load_rules

    rules = load_rules(file)
    # Valid rules may use points that this host does not have.
    plans = compile_rules(rules, list(BY_NAME))
    if as_json:
        typer.echo(json.dumps({"ok": True, "rules": [plan.name for plan in plans]}))
    else:
        typer.echo(f"ok: {len(plans)} rule{'' if len(plans) == 1 else 's'}")


@app.command()
def explain(
    file: File,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also list the compiled filters.")] = False,
    as_json: Json = False,
) -> None:
    """Explain what rules trace here, and what they cost."""
    from cmonlab.rules import load_rules
    from cmonlab.rules.explain import explain as explained

    rules = load_rules(file)
    available = _available()
    selecting = any(rule.match.containers is not None for rule in rules)
    containers = _containers() if selecting else None
    explanations = [explained(rule, available, containers) for rule in rules]
    if as_json:
        described = [
            {_JSON_NAMES.get(name, name): value for name, value in asdict(one).items()} for one in explanations
        ]
        typer.echo(json.dumps({"host_known": available is not None, "rules": described}))
        return
    for number, explanation in enumerate(explanations):
        if number:
            typer.echo()
        _show(explanation, verbose)


@app.command()
def schema() -> None:
    """Print the JSON schema of a file of rules."""
    from cmonlab.rules.files import schema

    typer.echo(json.dumps(schema(), indent=2))


def _show(explanation: Explanation, verbose: bool) -> None:
    import pandas as pd
    import yaml

    say = typer.echo
    say(f"rule {explanation.name}\n")
    say(yaml.safe_dump(explanation.rule, sort_keys=False, default_flow_style=None, width=100))
    columns = {"point": "name", "stage": "stage", "passes": "passes", "meaning": "meaning"}
    here = [point for point in explanation.points if point.available]
    if here:
        console.show(pd.DataFrame([{column: getattr(point, at) for column, at in columns.items()} for point in here]))
        say()
    reasons: dict[str, list[str]] = {}
    for point in explanation.points:
        if not point.available:
            reasons.setdefault(point.why, []).append(point.name)
    for why, names in reasons.items():
        say(f"not available here: {', '.join(names)}: {why}")
    if explanation.refused:
        say(f"refused here: {explanation.refused}")
    say(f"devices: {explanation.devices}")
    say(f"containers: {explanation.containers_summary}")
    for container in explanation.containers or ():
        say(f"  {container.name} ({container.image}): {', '.join(container.interfaces) or 'interfaces unknown'}")
    say(f"filter: {explanation.instructions} instruction{'' if explanation.instructions == 1 else 's'}")
    for line in explanation.listing if verbose else ():
        say(f"  {line}")
    say(
        f"cost (an estimate, from medians of one machine, for a packet between two containers on one bridge): "
        f"{explanation.matched_ns:,.0f} ns if the rule matches, {explanation.unmatched_ns:,.0f} ns if not"
    )
    if explanation.budget:
        say(f"budget: {explanation.budget}")


def _available() -> list[str] | None:
    """Return the points of this host; None, and a message, if this host does not show them."""
    from cmonlab.tracing.kernel.programs import available

    try:
        return [point.name for point in available()]
    except CmonlabError as error:
        console.say(f"{error.what}, so its points are unknown; this assumes that it has all of them")
        return None


def _containers() -> list[ContainerFacts] | None:
    """Return the running containers; None if no Docker engine answers."""
    from cmonlab.lab.docker.client import connect, docker_errors, unless_gone
    from cmonlab.lab.docker.containers import Container, inspected
    from cmonlab.lab.docker.place import HERE
    from cmonlab.rules.model import ContainerFacts

    client = connect() or HERE.connect()
    if client is None:
        return None
    found: list[Container] = []
    try:
        with docker_errors("the containers cannot be listed"):
            for one in client.api.containers(quiet=True):
                with unless_gone():
                    found.append(inspected(client.api.inspect_container(one["Id"]), ""))
    finally:
        client.close()
    interfaces = _interfaces({one.id: one.pid for one in found})
    return [
        ContainerFacts(one.name, one.image, one.labels, one.networks, tuple(interfaces.get(one.id, ())))
        for one in found
    ]


def _interfaces(pids: dict[str, int]) -> dict[str, list[str]]:
    """Return container id → names of interfaces; empty if this user may not enter the namespaces."""
    from cmonlab.lab.inventory.snapshot import links

    try:
        rows = links(pids)
    except CmonlabError as error:
        console.say(f"{error.what}, so its interfaces are unknown")
        return {}
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["name"] != "lo":
            found.setdefault(row["namespace"], []).append(row["name"])
    return found
