"""The JavaScript of our widgets, from the files in ``js/``."""

from __future__ import annotations

from importlib.resources import files


def script(*names: str) -> str:
    """Return files of ``js/`` joined to one module; anywidget sends it as text, so it cannot import the others."""
    return "\n".join(files(__package__).joinpath("js", f"{name}.js").read_text(encoding="utf-8") for name in names)
