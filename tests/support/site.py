"""Loads the modules that make the site; they are next to Sphinx's configuration, not in the package."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from . import ROOT

SITE = ROOT / "docs/site"


def site_module(name: str) -> ModuleType:
    """Return the module ``docs/site/NAME.py``."""
    spec = importlib.util.spec_from_file_location(f"cmonlab_site_{name}", SITE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
