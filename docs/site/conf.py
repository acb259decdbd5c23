"""How Sphinx makes the site of the documentation.

The source folder is the repository itself: its pages are on the site as they are, and the links between them work here
as on GitHub. What is made at build time is the notebooks' outputs, the tables of columns and the reference of the
rooms; `check.py` reads the result.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
os.environ.pop("CMONLAB_LIVE", None)  # notebooks open what was recorded

import cmonlab  # noqa: E402

project = "cmonlab"
author = copyright = "The cmonlab authors"
version = release = cmonlab.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
extensions += ["navigation", "links", "notebooks", "reference", "docstrings"]  # modules next to this file

root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/reference/**", "bpf/README.md", "datasets/*/card.md"]
include_patterns += ["notebooks/README.md", "notebooks/*.ipynb", "tests/guests/README.md"]

# Markdown as GitHub reads it: headings have anchors of their words, dashes and quotes stay.
myst_heading_anchors = 4
smartquotes = False

default_role = "py:obj"  # `name` in a docstring
autodoc_mock_imports = ["bcc"]  # the distribution's
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_display_short_literal_types = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
pygments_dark_style = "a11y-dark"
html_title = f"cmonlab {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_show_sphinx = False
