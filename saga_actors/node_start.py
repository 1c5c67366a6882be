"""Finding the node of a journal, or starting one; imports no Thespian."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from saga_actors.errors import NodeError, NodeUnreachableError
from saga_actors.node import TAKEN, hand_over
from saga_actors.node_folder import NodeFolder, holder
from saga_actors.node_spec import Life, NodeSpec

LOOK_EVERY = 0.01
"""Seconds between two looks for life.json."""


class NodeVanishedError(NodeUnreachableError):
    """The node that served this journal ended while it was waited for; start one."""


def _say_nothing(*_: Any, **__: Any) -> None: ...


class StartedNode(subprocess.Popen[bytes]):
    """The watchdog of a node that we started, and that may outlive us: it is no mistake to drop this."""

    log_began = 0

    def __del__(self, _maxsize: int = sys.maxsize, _warn: Any = _say_nothing) -> None:
        super().__del__(_maxsize, _warn)  # type: ignore[call-arg]  # Popen has them to be usable while Python ends


def start_node(spec: NodeSpec) -> StartedNode:
    """Start a node in a session of its own, without waiting; with nothing that is open here, and no terminal.

    It ends at once with `TAKEN` if another serves this journal.
    """
    if sys.platform != "linux":
        raise NodeError(f"a node needs Linux, and this is {sys.platform}; run it there, or in a container")
    if not sys.executable:
        raise NodeError("sys.executable is empty; set it to the Python interpreter that the node shall run in")
    folder = NodeFolder.of(spec.journal_url)
    folder.make()
    log = folder.open_log()
    try:
        began = os.fstat(log).st_size
        node = _start(spec, log)
    except OSError as error:
        raise NodeError(f"no node could be started in {spec.cwd}: {error}") from error
    finally:
        os.close(log)
    node.log_began = began
    hand_over(node, spec.to_json())
    return node


def _start(spec: NodeSpec, log: int) -> StartedNode:
    return StartedNode(
        [sys.executable, "-P", "-m", "saga_actors.node"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        cwd=spec.cwd,
        env=_environment(),
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """Ours, with this package on the path if a fresh interpreter would not find it."""
    here = str(Path(__file__).parents[1])
    if here in (*site.getsitepackages(), site.getusersitepackages()):
        return dict(os.environ)
    path = [entry for entry in (os.environ.get("PYTHONPATH"), here) if entry]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def read_life(folder: NodeFolder) -> Life | None:
    """The life of this node that is ready now, if its watchdog lives."""
    return folder.present_life()


def node_running(folder: NodeFolder) -> bool:
    """Whether a watchdog serves this journal; its life may not be ready."""
    return holder(folder) is not None


def wait_for_life(folder: NodeFolder, process: StartedNode | None = None, timeout: float = 30.0) -> Life:
    """Wait until a life is ready: that of the node just started, or of the one that was quicker.

    Raises NodeError, with what the log says, if the started node ended; NodeVanishedError if there is none to wait
    for; NodeUnreachableError after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while (life := read_life(folder)) is None:
        _check_on(folder, process)
        if time.monotonic() > deadline:
            raise NodeUnreachableError(f"no life of the node was ready after {timeout:g} s; see {folder.log}")
        time.sleep(LOOK_EVERY)
    return life


def _check_on(folder: NodeFolder, process: StartedNode | None) -> None:
    code = TAKEN if process is None else process.poll()
    if code == TAKEN and not node_running(folder):
        raise NodeVanishedError(f"no node serves {folder.path}; start one")
    if process is not None and code is not None and code < 0:  # whoever looks again starts another
        raise NodeUnreachableError(f"the node was killed by signal {-code} while it began; see {folder.log}")
    if process is not None and code not in (None, TAKEN):
        said = folder.log_tail(process.log_began) or "it said nothing"
        raise NodeError(f"the node ended with code {code}; {folder.log} says:\n{said}")


def ensure_node(spec: NodeSpec, timeout: float = 30.0) -> tuple[Life, StartedNode | None]:
    """Attach to the node of this journal, or start one; the second part is the node if it is ours to collect."""
    folder = NodeFolder.of(spec.journal_url)
    deadline = time.monotonic() + timeout
    if (life := read_life(folder)) is not None:
        return life, None
    while True:
        process = start_node(spec)
        try:
            life = wait_for_life(folder, process, max(0.0, deadline - time.monotonic()))
        except NodeVanishedError:
            if time.monotonic() > deadline:
                raise
        else:
            return life, process if process.poll() is None else None
