"""A journal and its node, looked over; nothing is changed by that, and nothing made."""

from __future__ import annotations

from collections.abc import Iterator

from saga_actors.actors.finding import Finding, found
from saga_actors.actors.journal_findings import journal_findings
from saga_actors.actors.mode_findings import mode_finding
from saga_actors.actors.node_findings import node_findings
from saga_actors.journal import JournalUrl


def examine(url: str, *, deep: bool = False) -> Iterator[Finding]:
    """What is found, one thing after the other; `deep` reads all of the journal, however long that takes."""
    place = JournalUrl.parse(url)
    yield from journal_findings(place, deep=deep)
    yield from node_findings(place)
    yield found("modes", lambda: mode_finding(place))
