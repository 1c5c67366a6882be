"""What a node leaves behind where others put things: nothing, whenever it is killed."""

from __future__ import annotations

import os

import pytest
from attacks import replay
from flows import Trip
from premises import Premises

from saga_actors import Completed

pytestmark = pytest.mark.node

PROBED = """
    import os, tempfile, traceback

    def probed():
        with open(os.path.join(FOLDER, "probed"), "a") as file:
            traceback.print_stack(file=file)
        return "/tmp"

    tempfile._get_default_tempdir = probed
"""
"""Python looks for a folder for temporary files by making one in it, which stays if the process is killed then."""


def test_no_process_of_a_node_makes_a_temporary_file(premises: Premises, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even to find out where Thespian's log may be."""
    premises.write("early/sitecustomize.py", PROBED)
    monkeypatch.setenv("PYTHONPATH", f"{premises.folder}/early{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    sagas = premises.coordinator()
    assert isinstance(sagas.run(Trip, premises.context()), Completed)
    assert not replay(b"40>" + bytes(40), sagas.locate()[0].admin_port)
    premises.until(lambda: premises.node.thespian_log.stat().st_size > 0)
    probed = premises.folder / "probed"
    assert not probed.exists(), probed.read_text()
