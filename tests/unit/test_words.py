"""Prose says things in the field's words, so that a sentence is read once.

What this file lists was once said in words of our own. Docstrings, comments, messages and pages use the word on the
right; CONTRIBUTING.md has the whole table.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.support import ROOT

#: Pattern → what to say.
WORDS = {
    r"\bobservers?\b": "tracer",
    r"\bblind\b": "trace gap",
    r"\btold\b": "reported, said; a better name",
    r"\btells?\b": "says, reports, shows; `tell apart`: distinguish",
    r"\btelling\b": "saying, reporting",
    r"\bpoints? of (?:one's|your|our|their) own\b": "custom probe",
    r"\bcustom points?\b": "custom probe",
    r"\bstandardis\w*": "compile rules; plan",
    r"\bweigh(?:s|ed|ing)?\b": "time",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bheed(?:s|ed|ing)?\b": "handle",
    r"\bwhoever\b": "any caller",
    r"\bwhole or not at all\b": "atomically",
    r"\bmay be called twice\b": "idempotent",
    r"\bbrought home\b|\bbrings home\b|\bcame to hand\b|\bcomes? home\b": "was read; result",
    r"\blook(?:s|ed|ing)? on\b": "trace, observe",
    r"\b(?:one|a) row (?:a|an|each)\b": "one row per",
    r"\ba (?:packet|hop|run|round|record|window|container|line) each\b": "one … per",
    r"\bnot told apart\b": "no difference detected",
    r"\bstands? against\b": "threat to validity",
    r"\bkeep(?:s|ing)? house\b|\bhousekeep\w*": "maintenance",
    r"\bhow (?:it|an agent|the agent) fares\b": "status",
}
PAGES = sorted(
    [
        *(ROOT / "cmonlab").rglob("*.py"),
        *(ROOT / "bpf").glob("*.[ch]"),
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "bpf").glob("*.md"),
        *(ROOT / "notebooks").glob("*.ipynb"),
    ]
)
#: History is not rewritten, and the contribution guide lists the words themselves.
NOT_READ = {"CHANGELOG.md", "CONTRIBUTING.md"}
_NAMES = re.compile(r"""["'](?:blind|blind_from_ns|observer CPU|observers)\\?["']|`observers`|dataset observers""")


def prose(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a file that people read: of Python its comments, strings and names, else all of it."""
    text = path.read_text()
    if path.suffix != ".py":
        return list(enumerate(text.splitlines(), 1))
    lines = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (
            tokenize.COMMENT,
            tokenize.STRING,
            tokenize.FSTRING_MIDDLE if hasattr(tokenize, "FSTRING_MIDDLE") else tokenize.STRING,
            tokenize.NAME,
        ):
            lines += [(token.start[0] + number, line) for number, line in enumerate(token.string.splitlines())]
    return lines


def dialect(path: Path) -> list[str]:
    """Return the lines that say something in words of our own, with the word to use."""
    found = []
    for number, line in prose(path):
        line = _NAMES.sub("", line)
        for pattern, instead in WORDS.items():
            if match := re.search(pattern, line, re.IGNORECASE):
                found.append(f"{number}: {match[0]!r}: say {instead!r}")
    return found


def test_dialect_is_found(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("One row a rule.\nThe observer's overhead.\nPlain words.\n")
    assert [line.split(":")[0] for line in dialect(path)] == ["1", "2"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_fields_words_are_used(path):
    if path.name in NOT_READ:
        return
    assert dialect(path) == []
