"""Text in figures: escaping and folding.

Plotly interprets a subset of HTML in all labels. Text from outside (names of containers and interfaces) is therefore
escaped by `plain`.
"""

from __future__ import annotations

import html
import textwrap


def plain(value: object) -> str:
    """Return text with markup escaped, so that plotly draws it literally."""
    return html.escape(str(value), quote=False)


def fold(label: object, width: int) -> str:
    """Fold a label into lines; nothing is cut off.

    It is folded before an arrow if it has one, else after the colon between container and interface, else anywhere.

    Parameters
    ----------
    label : object
        Its plain text.
    width : int
        Characters per line, about.

    Returns
    -------
    str
        Escaped lines, joined by ``<br>``.
    """
    return "<br>".join(plain(line) for line in fold_lines(str(label), width))


def fold_lines(label: str, width: int) -> list[str]:
    """Return the lines of `fold` without escaping.

    Parameters
    ----------
    label : str
        Plain text.
    width : int
        Characters per line, about.

    Returns
    -------
    list of str
    """
    if len(label) <= width:
        return [label]
    head, arrow, tail = label.partition(" → ")
    if arrow:
        return [*fold_lines(head, width), *fold_lines(f"→ {tail}", width)]
    head, colon, tail = label.partition(":")
    if colon and 6 < len(head) < width and len(tail) <= width:
        return [head + colon, *fold_lines(tail, width)]
    return textwrap.wrap(label, width) or [label]


def paragraph(text: str, width: int) -> str:
    """Fold running text into lines.

    Parameters
    ----------
    text : str
        Plain text.
    width : int
        Characters per line at most.

    Returns
    -------
    str
        Escaped lines, joined by ``<br>``.
    """
    return "<br>".join(plain(line) for line in textwrap.wrap(text, width, break_on_hyphens=False))


def lines(markup: str) -> int:
    """Return the number of lines of a folded text, 0 if it is empty."""
    return markup.count("<br>") + 1 if markup else 0


def longest(labels: list[str]) -> int:
    """Return the number of characters in the longest line of folded labels."""
    return max((len(html.unescape(line)) for label in labels for line in label.split("<br>")), default=0)
