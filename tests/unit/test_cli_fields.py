"""The fields of what verbs print as JSON are those that the documentation names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cli_rig import JOURNAL, Types
from definition_rig import SHOP
from stories import Story
from test_cli_reading import DOCUMENT, a_bad_night

from saga_actors import Completed
from saga_actors.cli import json_form
from saga_actors.inputs import ResolveRequested
from saga_actors.journal import SqliteJournal
from saga_actors.outcomes import SagaState

ROW = re.compile(r"^\| `([a-z]+)` \| (.*) \|$", re.MULTILINE)


def named() -> dict[str, set[str]]:
    """The fields that the table names, by verb."""
    table = DOCUMENT.read_text().partition("| with `-o json` | |")[2]
    return {verb: set(re.findall(r"`(\w+)`", text)) for verb, text in ROW.findall(table)}


def fields(document: Any) -> set[str]:
    """The names of all fields, at any depth; facts and contexts have names of their own."""
    if isinstance(document, list):
        return {name for each in document for name in fields(each)}
    if not isinstance(document, dict):
        return set()
    inner = {
        name for key, value in document.items() if "context" not in key and key != "facts" for name in fields(value)
    }
    return set(document) | inner


NO_FIELDS = {"status", "stuck", "failed", "unknown"}
"""What the table names beside fields: verbs and values."""


@pytest.mark.parametrize(
    "command",
    ["stuck", "show ord_133 --context", "check fields_shop:Order", "doctor", "version"],
    ids=lambda command: command.split()[0],
)
def test_all_fields_are_in_the_documentation(
    types: Types, journal_here: SqliteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """And all that it names are there."""
    a_bad_night(journal_here)
    resolved = Story(journal_here, 1, "ord_133").starts().succeeds().starts().fails().starts().fails()
    resolved.happens(ResolveRequested(SagaState.COMPENSATED, "ann", "by hand", "r1"))
    (tmp_path / "fields_shop.py").write_text(SHOP)
    monkeypatch.setenv("SAGA_ACTORS_JOURNAL", JOURNAL[1])
    verb = command.split()[0]
    printed = fields(json.loads(types(*command.split(), "-o", "json").out))
    known = named()[verb] - NO_FIELDS
    if verb in ("stuck", "show"):
        known |= fields(json.loads(types("status", "ord_131", "-o", "json").out)) | named()["stuck"] - NO_FIELDS
    assert printed ^ known <= ({"served"} if verb == "stuck" else set())


def test_the_fields_of_an_outcome_are_in_the_documentation() -> None:
    """What `run` prints."""
    assert fields(json_form.outcome(Completed({}, saga_id="a"), {})) == named()["run"] - NO_FIELDS
