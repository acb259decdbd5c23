"""Words and numbers as they are drawn.

Plotly reads a small HTML in every label; what comes from outside (container, interface names) goes through `plain`.
"""

from __future__ import annotations

import html
import textwrap


def plain(value: object) -> str:
    """Return text that plotly draws as it stands, markup included."""
    return html.escape(str(value), quote=False)


def fold(label: object, width: int) -> str:
    """Return a label as escaped lines of at most about ``width`` characters, joined by ``<br>``.

    It is folded before an arrow first, then behind the colon between container and interface, then anywhere:
    a long name is never cut off.
    """
    return "<br>".join(plain(line) for line in fold_lines(str(label), width))


def fold_lines(label: str, width: int) -> list[str]:
    """Return the unescaped lines of `fold`."""
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
    """Return running text as escaped lines of at most ``width`` characters, joined by ``<br>``."""
    return "<br>".join(plain(line) for line in textwrap.wrap(text, width, break_on_hyphens=False))


def lines(markup: str) -> int:
    """Return how many lines a folded text takes, 0 when it is empty."""
    return markup.count("<br>") + 1 if markup else 0


def longest(labels: list[str]) -> int:
    """Return the number of characters in the longest line of folded labels."""
    return max((len(html.unescape(line)) for label in labels for line in label.split("<br>")), default=0)
