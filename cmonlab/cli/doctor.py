"""``cmonlab doctor``: what this host can trace."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from cmonlab.tracing import preflight
from cmonlab.tracing.preflight import Check, attempt

from . import console


def examine(as_json: bool) -> bool:
    """Check this host, print the results, and return whether it can trace.

    `as_json` prints one JSON object instead of lines.
    """
    with console.err().status("checking this host"):
        checks = preflight.checks() + _docker()
    ready = all(check.ok for check in checks if check.required)
    if as_json:
        typer.echo(json.dumps({"ready": ready, "checks": [asdict(check) for check in checks]}, indent=1))
        return ready
    for check in checks:
        _print(check)
    console.out().print(
        "this host can trace" if ready else "this host cannot trace yet: fix what is marked ✗", style="bold"
    )
    return ready


def _print(check: Check) -> None:
    mark, style = ("✓", "green") if check.ok else ("✗", "red") if check.required else ("–", "yellow")
    printer = console.out()
    printer.print(f"{mark} {check.name}: {check.what}", markup=False, style=style, soft_wrap=True)
    if not check.ok:
        for word, text in (("why", check.why), ("fix", check.fix)):
            if text:
                printer.print(f"    {word}: {text}", markup=False, soft_wrap=True)


def _docker() -> list[Check]:
    from cmonlab.lab.docker.engine import probe
    from cmonlab.lab.docker.recipe import check_programs, read_recipe

    def programs() -> str:
        check_programs(read_recipe())
        return "the programs of the workload image are installed"

    return [attempt("Docker", probe), attempt("workloads", programs)]
