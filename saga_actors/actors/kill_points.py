"""Points at which a process of a node kills itself, for tests: with `SAGA_ACTORS_KILL_AT=after-dispatch:2` around it.

It dies when that point is passed for the second time by any process of the family, in any of its lives; and once, for
each passage is a file in the node's folder. Without the variable, to pass is to call a function that does nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from saga_actors.actors.process import FOLDER_VARIABLE
from saga_actors.actors.protocol import Bundle, FromWorker, ToWorker
from saga_actors.actors.turn import Turn
from saga_actors.events import (
    Accepted,
    AttemptFailed,
    AttemptSucceeded,
    Phase,
    SagaCompensated,
    SagaCompleted,
    UndoFailed,
)
from saga_actors.messages import SagaEnded, SagasStarted, SagaStarted

KILL_VARIABLE = "SAGA_ACTORS_KILL_AT"

BEFORE, AFTER = "before", "after"

FORWARD = (
    "accept-commit",
    "reply",
    "slot",
    "dispatch",
    "effect-call",
    "effect-return",
    "result-message",
    "result-commit",
    "terminal-commit",
    "checkpoint",
    "epoch",
    "inventory",
    "recovery",
    "drain",
)
BACK = ("undo-dispatch", "undo-effect-call", "undo-effect-return", "undo-commit")

POINTS = tuple(f"{when}-{what}" for what in FORWARD + BACK for when in (BEFORE, AFTER))
"""All of them. "After the effect call" is when the effect is there and its call has not returned: steps say so."""

UNDO = {Phase.EXECUTE: "", Phase.COMPENSATE: "undo-"}


class KillPoint:
    """The passage at which this process, or another of its family, dies; `told` as in the variable."""

    def __init__(self, told: str, folder: Path) -> None:
        self._point, _, nth = told.partition(":")
        if self._point not in POINTS or not nth.isdecimal() or nth == "0":
            raise ValueError(f"{KILL_VARIABLE} is {told!r}; expected a point and a number, such as {POINTS[0]}:1")
        self._nth = int(nth)
        self._folder = folder

    def passing(self, when: str, what: Any, phase: Phase = Phase.EXECUTE) -> None:
        """Something is about to be done, or was: what, says its name, or the turn or message that it is done with."""
        if self._point in {f"{when}-{name}" for name in _names(what, phase)} and self._is_nth():
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_nth(self) -> bool:
        for number in range(1, self._nth + 1):
            try:
                os.close(os.open(passage(self._folder, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                continue
            return number == self._nth
        return False


def passage(folder: Path, number: int) -> Path:
    """The file that says that the point was passed so often; the last of them, that somebody has died there."""
    return folder / f"kill-point.{number}"


def _names(what: Any, phase: Phase) -> Iterator[str]:
    match what:
        case str():
            yield UNDO[phase] + what
        case Turn():
            yield from _commits(what)
        case ToWorker():
            yield from (f"{UNDO[order.key.phase]}dispatch" for order in what.orders)
        case FromWorker() if what.reports:
            yield "result-message"
        case Bundle():
            for item in what.items:
                yield from _names(item, phase)
        case SagaStarted() | SagasStarted() | SagaEnded():
            yield "reply"


def _commits(turn: Turn) -> Iterator[str]:
    for event in (event for share in turn.shares.values() for event in share.events):
        match event:
            case Accepted():
                yield "accept-commit"
            case AttemptSucceeded() | AttemptFailed():
                yield "undo-commit" if event.phase is Phase.COMPENSATE else "result-commit"
            case SagaCompleted() | SagaCompensated() | UndoFailed():
                yield "terminal-commit"


def _nothing(when: str, what: Any, phase: Phase = Phase.EXECUTE) -> None: ...


def _armed() -> Callable[..., None]:
    """Only in a process of a node: who sets the variable does not die of it."""
    told, folder = os.environ.get(KILL_VARIABLE), os.environ.get(FOLDER_VARIABLE)
    return KillPoint(told, Path(folder)).passing if told and folder else _nothing


passing = _armed()
"""Pass a point, before or after what it is named for."""
