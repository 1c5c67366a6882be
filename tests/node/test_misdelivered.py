"""A message that comes to a process of another node, to which the port of a dead one was dealt."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from flows import Trip
from station import Station

from saga_actors import Completed

pytestmark = pytest.mark.node


def test_a_saga_is_accepted_by_the_node_of_its_own_journal(station: Station, tmp_path: Path) -> None:
    """P1: the client is not served elsewhere; it looks for its node again, and finds it."""
    (tmp_path / "other").mkdir()
    other = Station(tmp_path / "other")
    try:
        theirs, ours = other.coordinator(), station.coordinator()
        theirs.have_served()
        ours.have_served()
        client = ours._verbs._attachment._client
        assert client is not None
        assert client._where is not None
        elsewhere = theirs.locate()[1].supervisor.address
        client._where = attrs.evolve(
            client._where, supervisor=attrs.evolve(client._where.supervisor, address=elsewhere)
        )
        outcome = ours.run(Trip, station.context(), saga_id="mine", timeout=40)
        assert isinstance(outcome, Completed)
        assert [each.saga_id for each in theirs.list()] == []
        assert "for another life" in other.log()
    finally:
        other.clear()
