"""How Sphinx makes one book of these pages, the README and the docstrings: `make docs`."""

from __future__ import annotations

import os
import re
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent

PAGES = {ROOT / "README.md": DOCS / "index.md", ROOT / "examples/web_shop/README.md": DOCS / "guides/web-shop.md"}
"""Pages that are elsewhere in the repository, and where they are in the book."""

PLACES = {**PAGES, ROOT / "saga_actors/telemetry.py": DOCS / "reference/events.md"}
"""Where the book has what links to these files are about."""

project = "saga_actors"
release = version_of("saga-actors")
html_title = f"{project} {release}"
html_theme = "furo"
html_show_copyright = False
html_copy_source = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

default_role = "code"  # what docstrings have between single backticks
add_module_names = False
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"Event": "Event"}

_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def relinked(text: str, page: Path, place: Path) -> str:
    """A page's text with its links to files as they are where it is `place`d, to pages where those are."""

    def link(found: re.Match[str]) -> str:
        target = (page.parent / found[1]).resolve()
        return f"]({os.path.relpath(PLACES.get(target, target), place.parent)}"

    return _LINK.sub(link, text)


def on_source_read(app: Sphinx, name: str, source: list[str]) -> None:
    """Have links lead to where pages are in the book, and those that are elsewhere stand in their places."""
    place = DOCS / f"{name}.md"
    page = next((page for page in PAGES if PAGES[page] == place), place)
    if page is place:
        source[0] = relinked(source[0], place, place)
        return
    app.env.note_dependency(str(page))
    _, contents, tree = source[0].partition("```{toctree}")
    source[0] = f"{relinked(page.read_text(), page, place)}\n\n{contents}{tree}"


def setup(app: Sphinx) -> None:
    app.connect("source-read", on_source_read)
