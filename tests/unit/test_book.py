"""The book that is made of the pages and the docstrings."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import saga_actors
from saga_actors import messages, testing

ROOT = Path(__file__).parents[2]
PUBLIC = [(module, name) for module in (saga_actors, messages, testing) for name in module.__all__]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it, in text, made without a warning."""
    place = tmp_path_factory.mktemp("book")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "text"]
    made = subprocess.run([*command, ROOT / "docs", place], capture_output=True, text=True, timeout=100.0)
    assert (made.returncode, made.stderr) == (0, "")
    return place


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(book: Path) -> None:
    """Each has its place on one of the pages."""
    said = "\n".join(page.read_text() for page in (book / "reference").glob("*.txt"))
    words = set(said.replace("(", " ").split())
    assert not [name for _, name in PUBLIC if name not in words]


@pytest.mark.slow
def test_pages_from_elsewhere_lead_to_where_pages_are_in_the_book(book: Path) -> None:
    """The README is its first page; what stands there otherwise, for whoever reads the files, is not in the book."""
    for place, words in (("index", "A saga is a sequence of steps"), ("guides/web-shop", "A shop on the web")):
        page = (book / f"{place}.txt").read_text()
        assert words in page
        assert "Here the book" not in page


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=lambda value: value if isinstance(value, str) else "")
def test_whatever_is_public_says_what_it_is(module: Any, name: str) -> None:
    """Classes and functions have docstrings, and so has what a class has itself."""
    public = getattr(module, name)
    if not (inspect.isclass(public) or inspect.isfunction(public)):
        return
    assert public.__doc__, name
    own = {key: value for key, value in vars(public).items() if not key.startswith("_")}
    callables = {key: value for key, value in own.items() if isinstance(value, (property, classmethod, staticmethod))}
    callables |= {key: value for key, value in own.items() if inspect.isfunction(value)}
    assert not [f"{name}.{key}" for key, value in callables.items() if not value.__doc__]
