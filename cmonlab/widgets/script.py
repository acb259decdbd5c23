"""The JavaScript of our widgets, from the files beside."""

from __future__ import annotations

from importlib.resources import files


def script(*names: str) -> str:
    """Return files of ``js/`` as one module: a widget's is sent as text, and can import none."""
    return "\n".join(files(__package__).joinpath("js", f"{name}.js").read_text(encoding="utf-8") for name in names)
