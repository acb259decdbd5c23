"""Public functions say what they take: a NumPy section ``Parameters`` that names every argument, and annotations."""

import ast
import re
from pathlib import Path

import pytest

import cmonlab

PACKAGE = Path(cmonlab.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Commands: typer's options say what they are.
_COMMANDS = re.compile(r"\.(command|callback)\(")


def _public(body: list[ast.stmt], inside: ast.ClassDef | None = None):
    """Yield (function, class) of what is public."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node, inside
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public(node.body, node)
            made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
            if made is not None:
                yield made, node


def _arguments(function: ast.FunctionDef, inside: ast.ClassDef | None) -> list[ast.arg]:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in function.decorator_list)
    return given[1:] if inside is not None and not static else given


def _is_command(function: ast.FunctionDef) -> bool:
    return any(_COMMANDS.search(ast.unparse(one) + "(") for one in function.decorator_list)


def _documented(doc: str) -> set[str]:
    """Return the names in the section Parameters of a docstring (numpydoc)."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", doc, re.MULTILINE | re.DOTALL)
    if not section:
        return set()
    entries = re.findall(r"^(\*{0,2}\w[\w, *]*?)(?: : .*)?$", section[1], re.MULTILINE)
    return {name.strip(" *") for entry in entries for name in entry.split(",")}


def missing(source: str) -> list[str]:
    """Return what the public functions of a module leave out, a line each."""
    lines = []
    for function, inside in _public(ast.parse(source).body):
        arguments = _arguments(function, inside)
        name = f"{inside.name}.{function.name}" if inside else function.name
        bare = [one.arg for one in arguments if one.annotation is None]
        if bare:
            lines.append(f"{name}: {', '.join(bare)} not annotated")
        if function.returns is None and function.name != "__init__":
            lines.append(f"{name}: no return annotation")
        if len(arguments) < 2 or _is_command(function):
            continue
        doc = ast.get_docstring(inside if function.name == "__init__" and inside else function) or ""
        gone = [one.arg for one in arguments if one.arg not in _documented(doc) and not one.arg.startswith("_")]
        if gone:
            lines.append(f"{name}: Parameters lacks {', '.join(gone)}")
    return lines


def test_what_is_left_out_is_found():
    source = '''
def whole(a: int, b: int) -> int:
    """Add.

    Parameters
    ----------
    a, b : int
        Numbers.

    Returns
    -------
    int
    """

def bare(a, b: int):
    """Add."""
'''
    assert missing(source) == [
        "bare: a not annotated",
        "bare: no return annotation",
        "bare: Parameters lacks a, b",
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_functions_document_and_annotate_their_arguments(path):
    assert missing(path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_public_definitions_have_a_docstring(path):
    tree = ast.parse(path.read_text())
    without = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            without += [] if ast.get_docstring(node) else [node.name]
    assert not without
