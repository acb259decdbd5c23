"""Check the built site: ``python docs/site/check.py site``.

Every notebook's page has a figure; nothing is loaded from elsewhere; links within the site lead to something; the
reference has every public name; and no page names the folder in which the site was built.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
#: Element → the attribute whose file a browser loads with the page.
_LOADED = {"link": "href", "object": "data"}
_LOADED |= dict.fromkeys(("script", "img", "iframe", "source", "video", "audio", "embed", "input"), "src")
#: The folder of the build, but not as a part of another path.
_BUILT_IN = re.compile(rf"(?<![\w.-]){re.escape(str(ROOT))}(?![\w-])")
_CSS = re.compile(r"""@import\s+(?:url\()?["']?([^"')\s;]+)|url\(\s*["']?([^"')]+)""")


class Page(HTMLParser):
    """What a page has: names of places, figures, links, and files that it loads."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.places: set[str] = {"", "top"}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.figures = 0
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        self.figures += "figure" in given.get("class", "").split()
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if _LOADED.get(tag) in given:
            self.loaded.append(given[_LOADED[tag]])
        if "srcset" in given:
            self.loaded += [part.split()[0] for part in given["srcset"].split(",") if part.strip()]
        self.loaded += _urls(given.get("style", ""))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        """Note what a style sheet within the page loads."""
        if self._in_style:
            self.loaded += _urls(data)

    def handle_endtag(self, tag: str) -> None:
        """Leave a style sheet."""
        self._in_style = False


def _urls(css: str) -> list[str]:
    return [first or second for first, second in _CSS.findall(css)]


def _is_elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("", "data") or bool(parts.netloc)


def _target(page: Path, url: str) -> tuple[Path, str]:
    """Return the file and the place in it that a link within the site means."""
    parts = urlsplit(url)
    return ((page.parent / unquote(parts.path)).resolve() if parts.path else page), unquote(parts.fragment)


def problems(site: Path, notebooks: list[str] = (), names: list[str] = ()) -> list[str]:
    """Return what is wrong with a site, one line per problem.

    Parameters
    ----------
    site : Path
        The folder that Sphinx wrote.
    notebooks : list of str
        Names of the notebooks, of which each must have a page with a figure.
    names : list of str
        Names in the package that the reference must define.
    """
    site = site.resolve()
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    pages = {path: Page(text) for path, text in texts.items()}
    found = [] if site / "index.html" in pages else ["index.html: is missing"]
    found += [f"{path.relative_to(site)}: names {ROOT}" for path, text in texts.items() if _BUILT_IN.search(text)]
    for path, page in pages.items():
        where = path.relative_to(site)
        found += [f"{where}: loads {url}" for url in page.loaded if _is_elsewhere(url)]
        for url in [*page.links, *page.loaded]:
            if url and not _is_elsewhere(url):
                file, place = _target(path, url)
                if not url.startswith("data:") and not file.exists():
                    found.append(f"{where}: {url} does not exist")
                elif file in pages and url in page.links and place not in pages[file].places:
                    found.append(f"{where}: {url} names a place that its page does not have")
    for path in sorted(site.rglob("*.css")):
        found += [f"{path.relative_to(site)}: loads {url}" for url in _urls(path.read_text()) if _is_elsewhere(url)]
    for name in notebooks:
        page = pages.get(site / "notebooks" / f"{name}.html")
        if page is None or not page.figures:
            found.append(f"notebooks/{name}.html: has no figure")
    defined = set().union(*(page.places for page in pages.values()))
    return found + [f"the reference lacks {name}" for name in names if name not in defined]


def public_names() -> list[str]:
    """Return the full names of what is public: the names of the package, and those of modules that are public."""
    import cmonlab

    names = ["cmonlab.load_ipython_extension"]
    for name, place in cmonlab._PLACES.items():
        thing = getattr(cmonlab, name)
        if not isinstance(thing, ModuleType):
            names.append("cmonlab." + (place.replace(":", ".") if place.startswith("errors:") else name))
            continue
        own = [one for one, value in vars(thing).items() if getattr(value, "__module__", "") == thing.__name__]
        names += [f"cmonlab.{name}.{one}" for one in getattr(thing, "__all__", own) if not one.startswith("_")]
    return names


def main(site: str) -> int:
    """Print the problems of a site; return the exit code."""
    notebooks = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    found = problems(Path(site), notebooks, public_names())
    for line in found:
        print(f"{site}/{line}", file=sys.stderr)
    if not found:
        print(f"{site}/index.html: {len(notebooks)} notebooks with figures, no broken link, nothing from elsewhere")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
