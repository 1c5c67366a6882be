"""What the documents show is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
