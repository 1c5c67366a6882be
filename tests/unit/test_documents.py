"""What the documents show is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from saga_actors.transitions import state_diagram

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def _examples() -> str:
    return "\n".join(path.read_text() for path in sorted(ROOT.glob("examples/**/*.py")))


@every_document
def test_python_is_quoted_from_an_example(document: Path) -> None:
    """Every block of Python stands word for word in an example, which is checked by mypy and run by a test."""
    blocks = re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    examples = _examples()
    assert not [block for block in blocks if block not in examples]


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    """Every link within the repository is to a file that is there."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]


def test_the_readme_names_targets_that_make_has() -> None:
    """Every `make …` in the README is a target."""
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def _tests_named_in(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def test_the_guarantees_name_tests_that_there_are() -> None:
    """Every row of every table has one, and each is a function in that file."""
    text = (ROOT / "docs" / "guarantees.md").read_text()
    rows = [row for row in re.findall(r"^\| .*\|$", text, re.MULTILINE) if not row.endswith("| shown by |")]
    assert len(rows) > 30
    assert not [row for row in rows if not _tests_named_in(row)]
    gone = [
        f"{file}::{name}" for file, name in _tests_named_in(text) if f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert not gone


@every_document
def test_every_test_that_is_named_is_there(document: Path) -> None:
    """Each is a function in the file that is said to have it."""
    named = _tests_named_in(document.read_text())
    assert not [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]


def test_the_diagram_of_the_states_is_that_of_the_table() -> None:
    """It is drawn, and not written."""
    assert f"```mermaid\n{state_diagram()}\n```" in (ROOT / "docs" / "guarantees.md").read_text()


def test_the_figures_of_the_readme_are_those_that_were_measured() -> None:
    """Each of its table is in docs/performance.md, where the command is that measures them."""
    table = (ROOT / "README.md").read_text().partition("## How fast it is")[2].partition("\n## ")[0]
    figures = re.findall(r"^\| .+ \| ([\d.,]+) .*\|$", table, re.MULTILINE)
    measured = (ROOT / "docs" / "performance.md").read_text()
    assert figures
    assert not [figure for figure in figures if figure not in measured]
