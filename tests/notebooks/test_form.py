"""The form that all notebooks have in common."""

import json
import re

import pytest

from .running import FOLDER, NOTEBOOKS

MOST_CELLS = 25
SWITCH = 'LIVE = os.environ.get("CMONLAB_LIVE") == "1"'


def _cells(notebook, kind=""):
    cells = json.loads(notebook.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"].startswith(kind)]


def _text(cell) -> str:
    return "".join(cell["source"])


def test_readme_lists_all_notebooks():
    named = re.findall(r"\]\((\w+\.ipynb)\)", (FOLDER / "README.md").read_text())
    assert named == [notebook.name for notebook in NOTEBOOKS]
    assert len(named) > 0


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
class TestEach:
    def test_notebook_is_short_and_without_outputs(self, notebook):
        assert len(_cells(notebook)) <= MOST_CELLS
        code = _cells(notebook, "code")
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
        identities = [cell["id"] for cell in _cells(notebook)]
        assert len(set(identities)) == len(identities)

    def test_notebook_begins_with_a_question_and_ends_with_what_to_try(self, notebook):
        first, *_, last = _cells(notebook)
        assert _text(first).startswith(f"# {notebook.name[:2]} · ")
        assert "**Question:**" in _text(first) and "CMONLAB_LIVE=1" in _text(first)
        assert _text(last).startswith("## What to try next\n")

    def test_notebook_has_one_switch_and_asserts_on_its_tables(self, notebook):
        code = "\n".join(_text(cell) for cell in _cells(notebook, "code"))
        assert code.count(SWITCH) == 1 and code.count("environ") == 1
        assert re.search(r"^if LIVE:$", code, re.MULTILINE)
        assert len(re.findall(r"^ *assert ", code, re.MULTILINE)) >= 3

    def test_notebook_has_no_path_of_a_machine(self, notebook):
        text = notebook.read_text()
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users|mnt|opt)/", text)

    def test_notebook_refers_to_existing_notebooks(self, notebook):
        named = set(re.findall(r"\b\d\d_\w+\.ipynb", notebook.read_text()))
        assert named <= {other.name for other in NOTEBOOKS}
