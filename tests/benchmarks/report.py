"""The result of the benchmarks as text, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from cmonlab.session.report.page import RunReport, write_report

from . import figures
from .outcome import Sample

GREEN, RED, PLAIN = "\033[32m", "\033[31m", "\033[0m"
#: Metrics of the side-by-side table of each workload.
COLUMNS = (*figures.METRICS, "tracer CPU", "lost", "offline")
_SCALES = {
    "Containers": (
        "containers",
        "run time a packet, namespaces",
        "Run time of all programs for a packet",
        "namespaces",
    ),
    "Flows": ("flows", "run time a packet, flows", "Run time of all programs for a packet", "flows"),
    "Flows without room": (
        "flows",
        "hops without room in the aggregate, flows",
        "Hops not aggregated because the table is full",
        "flows",
    ),
    "Correlator": ("flows", "events to journeys, an event, flows", "Events to journeys: CPU an event", "flows"),
}
_DOTS = {
    "Programs compared with the floor": (
        "run time / floor",
        "Run time compared with a timestamp and a ring record",
        "× floor",
        1.0,
    ),
    "Programs compared with an empty one": (
        "run time / empty",
        "Run time compared with an empty program",
        "× empty",
        1.0,
    ),
    "Points": ("run time a packet", "Run time of all programs for a packet, by points", "ns a packet", None),
    "Live refresh": ("one refresh of live tables", "One refresh of live tables", "ms", None),
}


def write(directory: Path, result: dict) -> None:
    """Write bench.json and report.html, each atomically.

    Raises
    ------
    SessionError
        The page cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / ".bench.json.part"
    part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(directory / "bench.json")
    write_report(directory / "report.html", [section(result)], title="cmonlab benchmarks")


def samples_of(result: dict) -> list[Sample]:
    """Return the samples of bench.json."""
    return [Sample(**{name: row[name] for name in Sample.__dataclass_fields__}) for row in result["samples"]]


def section(result: dict) -> RunReport:
    """Return the page's only section."""
    samples, missed = samples_of(result), [target for target in result["targets"] if not target["met"]]
    count = len(result["targets"])
    summary = [
        ("targets", f"{count - len(missed)} of {count} met, {len(missed)} missed"),
        ("took", f"{result['seconds']:.0f} s" + (", the quick form" if result["quick"] else "")),
        ("made at", result["created"]),
        ("kernel", str(result["kernel"]["kernel"])),
        ("machine", _machine(result["machine"])),
        ("versions", ", ".join(f"{key} {value}" for key, value in result["versions"].items())),
    ]
    notes = ["A quick run: for a first look only."] if result["quick"] else []
    notes += [f"MISSED: {target['name']}" for target in missed]
    tables = {"targets": targets_table(result), **side_tables(samples), "samples": samples_table(samples)}
    return RunReport("benchmarks", summary, drawn(samples), tables, notes + result["notes"])


def _machine(machine: dict) -> str:
    load = ", ".join(f"{one:.1f}" for one in machine["load"])
    others = [str(machine[name]) for name in ("cpu", "distribution", "clocksource") if machine.get(name)]
    memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB"
    return f"{', '.join(others)}, {machine['cpus']} CPUs, {memory}; load before {load}"


def drawn(samples: Sequence[Sample]) -> dict[str, go.Figure]:
    """Return the figures of the samples."""
    found = figures.side_by_side(samples)
    for name, (part, measure, title, scale) in _SCALES.items():
        if any(sample.part == part and sample.measure == measure for sample in samples):
            found[name] = figures.over_scale(samples, part, measure, title, scale)
    for name, (measure, title, axis, line) in _DOTS.items():
        chosen = [
            s for s in samples if s.at is None and s.measure.startswith(measure) and s.part not in ("containers",)
        ]
        if chosen:
            found[name] = figures.dots(chosen, title, axis, line)
    return found


def targets_table(result: dict) -> pd.DataFrame:
    """Return one row per target; missed ones are marked by ``pass``."""
    rows = [
        {
            "target": target["name"],
            "goal": f"{target['sense']} {target['goal']:g}",
            "value": target["value"],
            "unit": target["unit"],
            "quartiles": _span(target["spread"]),
            "95% interval": _span(target["interval"]),
            "rounds": target["rounds"],
            "verdict": verdict(target),
            "pass": target["met"],
        }
        for target in result["targets"]
    ]
    return pd.DataFrame(rows)


def verdict(target: dict) -> str:
    """Return met or MISSED, and whether the interval is on both sides of the goal."""
    return ("met" if target["met"] else "MISSED") + ("" if target["sure"] else ", not sure")


def samples_table(samples: Sequence[Sample]) -> pd.DataFrame:
    """Return one row per sample."""
    rows = []
    for sample in samples:
        found = sample.described()["summary"]
        at = "" if sample.at is None else f", {sample.at:,.0f}"
        rows.append(
            {
                "part": sample.part,
                "measured": sample.measure,
                "of": sample.case + at,
                "median": found["median"],
                "unit": sample.unit,
                "quartiles": _span(found["quartiles"]),
                "rounds": found["n"],
            }
        )
    return pd.DataFrame(rows)


def side_tables(samples: Sequence[Sample]) -> dict[str, pd.DataFrame]:
    """Return workload → table with one row per tracer: medians of `COLUMNS`, with units in the headings."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for sample in samples:
        workload, _, metric = sample.measure.rpartition(": ")
        if sample.part == "peers" and metric in COLUMNS:
            column = f"{metric} ({sample.unit})"
            row = found.setdefault(workload, {}).setdefault(sample.case, {})
            row[column] = sample.described()["summary"]["median"]
    tables = {}
    for workload, rows in found.items():
        columns = sorted({name for row in rows.values() for name in row}, key=lambda n: COLUMNS.index(n.split(" (")[0]))
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        tables[f"side by side: {workload}"] = table.rename_axis("tracer").reset_index()
    return tables


def _span(ends: Sequence[float]) -> str:
    return " to ".join(f"{end:.4g}" for end in ends)


def text(result: dict, colour: bool = False) -> str:
    """Return the side-by-side tables, targets and samples as aligned text; missed targets are red."""
    samples, lines = samples_of(result), []
    for title, table in side_tables(samples).items():
        lines += [title, *_aligned(table), ""]
    targets = targets_table(result)
    shown = _aligned(targets.drop(columns="pass")) if len(targets) else ["no target was judged"]
    for at, target in enumerate(result["targets"], 1):
        if colour:
            shown[at] = f"{GREEN if target['met'] else RED}{shown[at]}{PLAIN}"
    others = [sample for sample in samples if sample.part != "peers"]
    lines += [*shown, "", *(_aligned(samples_table(others)) if others else []), "", *result["notes"], ""]
    met = sum(target["met"] for target in result["targets"])
    return "\n".join([*lines, f"{met} of {len(result['targets'])} targets met"])


def _aligned(table: pd.DataFrame) -> list[str]:
    words: Callable[[object], str] = lambda v: ("–" if v != v else f"{v:,.4g}") if isinstance(v, float) else str(v)  # noqa: E731
    rows = [tuple(map(str, table.columns)), *(tuple(map(words, row)) for row in table.itertuples(index=False))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines
