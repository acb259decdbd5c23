"""The tables of docs/points.md are those of the catalogue.

``python -m tests.unit.points.test_catalogue_page`` writes them.
"""

import re

import pytest

from cmonlab.points.catalogue import CATALOGUE, COSTS, FIRST_PROBE, GROUPS, MAX_PROBES
from cmonlab.points.probe import COLUMNS, MAX_FIELDS, TYPES
from tests.support import ROOT

PAGE = ROOT / "docs/points.md"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def table_of_points() -> str:
    rows = [
        row("point", "in tables", "stage", "groups", "what has just happened", "since Linux", "cost"),
        row(*["---"] * 7),
    ]
    for point in CATALOGUE:
        if not point.is_function:
            meaning = point.meaning + (f" (stands in for `{point.instead_of}`)" if point.instead_of else "")
            rows.append(
                row(
                    f"`{point.name}`",
                    point.label,
                    point.stage,
                    ", ".join(point.groups),
                    meaning,
                    point.since,
                    point.cost,
                )
            )
    return "\n".join(rows)


def table_of_functions() -> str:
    rows = [row("point", "in tables", "what has just happened", "may be in the module"), row(*["---"] * 4)]
    rows += [
        row(f"`{p.name}`", p.label, p.meaning, f"`{p.module}`" if p.module else "") for p in CATALOGUE if p.is_function
    ]
    return "\n".join(rows)


def table_of(words: dict[str, str], head: str) -> str:
    return "\n".join(
        [row(head, "meaning"), row("---", "---"), *(row(f"`{word}`", meaning) for word, meaning in words.items())]
    )


TABLES = {
    "points": table_of_points,
    "functions": table_of_functions,
    "groups": lambda: table_of(GROUPS, "group"),
    "costs": lambda: table_of(COSTS, "cost"),
}


def written(page: str) -> str:
    for name, table in TABLES.items():
        head, begin, rest = page.partition(f"<!-- table: {name} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        page = f"{head}{begin}{table()}\n{end}{tail}"
    return page


@pytest.mark.parametrize("name", TABLES)
def test_page_has_each_table_once(name):
    assert PAGE.read_text().count(f"<!-- table: {name} -->") == 1
    assert PAGE.read_text().count("<!-- end -->") == len(TABLES)


def test_tables_of_the_page_are_those_of_the_catalogue():
    assert written(PAGE.read_text()) == PAGE.read_text(), "run python -m tests.unit.points.test_catalogue_page"


def test_page_states_the_limits_of_custom_probes():
    page = PAGE.read_text()
    assert f"at most {MAX_FIELDS}" in page and f"At most {MAX_PROBES}" in page
    assert all(f"`{kind}`" in page for kind in (min(TYPES), max(TYPES)))
    assert f"from {FIRST_PROBE} on" in page
    assert all(f"`{name}`" in page for name in COLUMNS)


def test_example_of_the_page_is_a_probe():
    import cmonlab as cm

    code = re.search(r"```python\n(cwnd = .*?)\n\n", PAGE.read_text(), re.DOTALL)[1]
    made = {"cm": cm}
    exec(code, made)
    assert made["cwnd"].place == "tcp_probe" and set(made["cwnd"].fields) == {"snd_cwnd", "inflight"}


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
