"""Record the datasets again: ``python -m cmonlab.study.datasets.record [NAME…] [--out datasets]``, as root.

A tool for maintainers. It replaces a dataset, its card and its entry in the registry. Notebooks assert numbers of the
datasets: run their tests afterwards, and update those numbers.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shutil
import socket
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cmonlab.errors import SessionError
from cmonlab.session.session import Session
from cmonlab.system.tempdirs import prefix

from .recipes import RECIPES, Recipe, Runs
from .registry import FOLDER, register

MOST_BYTES = 3 << 20
_LEFT_OUT = (
    "Not in the manifests: the workload's own report (its metrics are included), the kernel's build, the revision of "
    "the source, and interfaces that do not belong to the lab."
)


def write(name: str, recipe: Recipe, folder: Path) -> None:
    """Record one dataset and register it.

    Parameters
    ----------
    name : str
        Name of the dataset.
    recipe : Recipe
        How to record it.
    folder : Path
        Folder of all datasets.

    Raises
    ------
    SessionError
        The dataset is too large, events were lost, or the manifest contains private data.
    """
    runs = recipe.make()
    parts = {run: [_part(run, number, len(found)) for number in range(len(found))] for run, found in runs.items()}
    with tempfile.TemporaryDirectory(prefix=prefix(), dir=folder) as made:
        fresh = Path(made, name)
        for run, sessions in runs.items():
            for part, session in zip(parts[run], sessions, strict=True):
                _check(f"{name}/{part}", session)
                _public(session).save(fresh / part)
        (fresh / "card.md").write_text(_card(name, recipe, runs), encoding="utf-8")
        size = sum(path.stat().st_size for path in fresh.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise SessionError(f"dataset {name} has {size:,} bytes", why=f"at most {MOST_BYTES:,}", fix="record less")
        shutil.rmtree(folder / name, ignore_errors=True)
        fresh.rename(folder / name)
    journeys = sum(len(session.journeys()) for sessions in runs.values() for session in sessions)
    register(folder, name, recipe.what, parts, journeys)


def _part(run: str, number: int, of: int) -> str:
    """Return the folder name of a session: number `number` of the `of` repetitions of a run."""
    base = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    return base if of == 1 else f"{base}-{number + 1}"


def _check(where: str, session: Session) -> None:
    if session.lost_events or session.manifest["recording"]["ended"] != "finished":
        raise SessionError(f"{where}: {session!r}", why="it is not complete", fix="record it again")
    containers = {container["name"] for container in session.manifest["lab"]["containers"]}
    others = set(session.journeys()[["src", "dst"]].astype(str).to_numpy().ravel()) - containers
    if others:
        why = f"packets of others were recorded: {', '.join(sorted(others)[:4])}"
        raise SessionError(f"{where} has packets that are not of its lab", why=why, fix="stop the others, record again")


def _public(session: Session) -> Session:
    """Return the session without data that identify this machine."""
    manifest = session.manifest
    host = manifest["host"] | {
        "kernel": manifest["host"]["kernel"].split("-")[0],
        "kernel_build": None,
        "git_revision": None,
    }
    workload = {key: value for key, value in manifest["workload"].items() if key != "output"}
    session.manifest |= {"host": host, "workload": workload, "links": _used(session)}
    text = json.dumps(session.manifest)
    for private in (socket.gethostname(), str(Path.cwd()), str(Path.home()), *_addresses(manifest["links"], session)):
        if private and private in text:
            raise SessionError(
                f"the manifest names {private!r}", why="it identifies this machine", fix="extend _public"
            )
    return session


def _used(session: Session) -> list[dict]:
    """Return the links of the lab: those of its containers and others that packets passed, with their bridges."""
    passed = set(map(tuple, np.unique(session.events[["netns", "ifindex"]].to_numpy(np.int64), axis=0).tolist()))
    spaces, containers = {netns for netns, _ in passed}, {c["name"] for c in session.manifest["lab"]["containers"]}
    links = session.manifest["links"]
    kept = [
        row
        for row in links
        if row["namespace"] in containers
        or (row["netns"], row["ifindex"]) in passed
        or (row["namespace"] != "host" and row["netns"] in spaces)
    ]
    bridges = {(row["netns"], row["master"]) for row in kept if row["master"]}
    return [row for row in links if row in kept or (row["netns"], row["ifindex"]) in bridges]


def _addresses(links: list[dict], session: Session) -> list[str]:
    """Return the link and IP addresses of interfaces that were left out."""
    kept = {address for row in session.manifest["links"] for address in (row["mac"], *row["addresses"])}
    return sorted(
        {address for row in links for address in (row["mac"], *row["addresses"])} - kept - {"::1", "127.0.0.1"}
    )


def _card(name: str, recipe: Recipe, runs: Runs) -> str:
    """Return the card of a dataset (Markdown)."""
    host = next(iter(runs.values()))[0].manifest["host"]
    created = sorted(session.manifest["created"] for sessions in runs.values() for session in sessions)[0]
    return f"""# {name}

{recipe.what[0].upper()}{recipe.what[1:]}.

## Sessions

{_table(runs)}

## How it was recorded

`python -m cmonlab.study.datasets.record {name}`, {created[:10]}, which called

```python
{_source(recipe.make)}
```

cmonlab {host["python_packages"]["cmonlab"]} · Linux {host["kernel"]} · {host["distribution"]} · {host["cpu"]}, \
{host["cpus"]} processors · clock source {host["clocksource"]}. The manifests contain more details.

## Limits

{recipe.limits}

{_LEFT_OUT}

## Licence

Apache-2.0, as cmonlab's Python code.
"""


def _table(runs: Runs) -> str:
    head = "| run | session | rules | journeys | complete | dropped | events | lost events | trace gaps, ms |\n"
    rows = [head + "|---|---|---|---|---|---|---|---|---|"]
    for run, sessions in runs.items():
        for number, session in enumerate(sessions):
            journeys = session.journeys()
            rows.append(
                f"| {run} | {_part(run, number, len(sessions))} | {session.rules_summary} | {len(journeys):,} | "
                f"{journeys['complete'].sum():,} | {len(session.drops()):,} | {len(session):,} | "
                f"{session.lost_events:,} | {session.trace_gap_ns / 1e6:.1f} |"
            )
    return "\n".join(rows)


def _source(function: Callable) -> str:
    return textwrap.dedent(inspect.getsource(function)).rstrip()


def main() -> None:
    """Record the named datasets, by default all of them."""
    parser = argparse.ArgumentParser(
        prog="python -m cmonlab.study.datasets.record", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(RECIPES))
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the datasets")
    arguments = parser.parse_args()
    for name in arguments.names or RECIPES:
        if name not in RECIPES:
            parser.error(f"unknown dataset {name!r}; known: {', '.join(RECIPES)}")
        print(f"recording {name}", flush=True)
        write(name, RECIPES[name], arguments.out)


if __name__ == "__main__":
    main()
