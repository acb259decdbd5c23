"""Figures stay in notebooks that are exported; see `renderer`."""

from __future__ import annotations

import os
import sys

NAME = "cmonlab"
#: What plotly chooses by itself in a Jupyter kernel: JSON only.
_DEFAULTS = ("plotly_mimetype", "vscode")


def show_in_exports() -> None:
    """Let the figures of this kernel show in exported notebooks, unless the user chose a renderer.

    The user's choice is the environment variable ``PLOTLY_RENDERER``, or a value of ``plotly.io.renderers.default``
    that plotly does not set by itself in a notebook.
    """
    if "IPython" not in sys.modules or sys.modules["IPython"].get_ipython() is None:
        return
    from plotly.io import renderers  # it loads IPython, which only notebooks need

    if not os.environ.get("PLOTLY_RENDERER") and renderers.default in _DEFAULTS:
        from .renderer import Html

        renderers[NAME] = Html()
        renderers.default = f"{renderers.default}+{NAME}"
