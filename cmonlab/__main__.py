"""``python -m cmonlab`` is the command ``cmonlab``."""

from .cli import main

main()
