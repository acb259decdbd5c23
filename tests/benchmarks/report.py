"""The result as text, as JSON and as a page."""

from __future__ import annotations

import html
import json
from pathlib import Path

GREEN, RED, PLAIN = "\033[32m", "\033[31m", "\033[0m"
_STYLE = """
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2330; background: #fff;
  font: 15px/1.5 system-ui, sans-serif }
table { border-collapse: collapse; margin: 1rem 0 2rem } caption { text-align: left; font-weight: 600 }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #dde2e9; text-align: left }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.missed td { background: #fbe4dc; color: #8f2600; font-weight: 600 } pre { white-space: pre-wrap }
"""


def write(directory: Path, result: dict) -> None:
    """Write bench.json and report.html, each whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (("bench.json", json.dumps(result, indent=1, ensure_ascii=False)), ("report.html", page(result))):
        scratch = directory / f".{name}.part"
        scratch.write_text(text + "\n", encoding="utf-8")
        scratch.replace(directory / name)


def _verdict(target: dict) -> str:
    return ("met" if target["met"] else "MISSED") + ("" if target["sure"] else ", not sure")


def target_rows(result: dict) -> list[tuple[str, ...]]:
    """Return name, goal, value, quartiles, rounds and verdict of every target as text."""
    rows = []
    for target in result["targets"]:
        goal, value = f"{target['sense']} {target['goal']:g}", f"{target['value']:.2f}"
        spread, rounds = _span(target["spread"], ".2f"), str(target["rounds"])
        rows.append((target["name"], goal, value, spread, rounds, _verdict(target)))
    return rows


def sample_rows(result: dict) -> list[tuple[str, ...]]:
    """Return name, median, quartiles and number of every sample as text."""
    found = result["results"].items()
    return [(name, f"{s['median']:.4g}", _span(s["quartiles"], ".4g"), str(s["n"])) for name, s in found]


def _span(ends: list[float], form: str) -> str:
    return "–".join(format(end, form) for end in ends)


def text(result: dict, colour: bool = False) -> str:
    """Return the tables of targets and samples as aligned text; a missed target is red."""
    head = ("target", "goal", "median", "quartiles", "rounds", "")
    lines = _aligned([head, *target_rows(result)])
    for at, target in enumerate(result["targets"], 1):
        if colour:
            lines[at] = f"{GREEN if target['met'] else RED}{lines[at]}{PLAIN}"
    lines += [
        "",
        *_aligned([("measured", "median", "quartiles", "rounds"), *sample_rows(result)]),
        "",
        *result["notes"],
    ]
    missed = sum(not target["met"] for target in result["targets"])
    return "\n".join([*lines, "", f"{len(result['targets']) - missed} of {len(result['targets'])} targets met"])


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def page(result: dict) -> str:
    """Return a self-contained HTML page; a missed target is marked."""
    missed = [not target["met"] for target in result["targets"]]
    summary = f"{len(missed) - sum(missed)} of {len(missed)} targets met" + (
        f", {sum(missed)} missed" if any(missed) else ""
    )
    targets = _table(
        "Targets", ("target", "goal", "median", "quartiles", "rounds", "verdict"), target_rows(result), missed
    )
    samples = _table("Samples", ("measured", "median", "quartiles", "rounds"), sample_rows(result))
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in result["notes"])
    about = json.dumps(
        {key: result[key] for key in ("created", "machine", "kernel", "versions")}, indent=1, ensure_ascii=False
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>cmonlab benchmarks</title>'
        f"<style>{_STYLE}</style><h1>Benchmarks</h1><p>{summary}. Each value is the median of ratios within one round;"
        f" in a round every variant runs once, in random order.</p>{targets}<ul>{notes}</ul>{samples}"
        f"<pre>{html.escape(about)}</pre></html>"
    )


def _table(caption: str, head: tuple[str, ...], rows: list[tuple[str, ...]], marked: list[bool] | None = None) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if at else ''}>{html.escape(cell)}</{tag}>" for at, cell in enumerate(cells)
        )

    marks = marked or [False] * len(rows)
    body = "".join(
        f"<tr{' class=missed' if mark else ''}>{line(row, 'td')}</tr>" for mark, row in zip(marks, rows, strict=True)
    )
    top = f"<caption>{html.escape(caption)}</caption><thead><tr>{line(head, 'th')}</tr></thead>"
    return f"<table>{top}<tbody>{body}</tbody></table>"
