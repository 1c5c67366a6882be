"""The telemetry actor: reads the journal behind the supervisor, and tells the listeners.

The journal is the only queue between the two: nothing is lost when this process ends, and nothing waits for it. Where
it has come to is in `telemetry.cursor` in the node's folder, which never runs ahead of what the listeners were told.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from saga_actors.actors.child import Child, settle_in
from saga_actors.actors.process import FOLDER_VARIABLE
from saga_actors.actors.protocol import Address, Birth, CatchUp, CaughtUp, Committed
from saga_actors.errors import JournalError
from saga_actors.journal import open_reader
from saga_actors.journal.port import JournalReader, Tailed
from saga_actors.listeners import LOGGER, Listeners, Throttle
from saga_actors.node_folder import NodeFolder, open_private
from saga_actors.node_spec import NodeSpec
from saga_actors.telemetry import EventName, TelemetryEvent, Translator, unneeded

CURSOR_FILE = "telemetry.cursor"

SLICE = 0.03
"""Seconds of reading between two looks at the mailbox, so that pings are answered."""

BREATH = 0.005
"""Seconds for a look at the mailbox; with none at all Thespian would only see its timer."""

POLL = 1.0
"""Seconds after which the journal is looked at without having been told to: a hint may be lost."""

MAKING = 10.0
"""Seconds for which it is no wonder that there is no journal: the supervisor makes it, and is born later."""

SAVE_EVERY = 0.25
"""Seconds between two writes of the cursor."""

FEW, MANY = 16, 256
"""Events looked at once: between these, as long as it takes less than a quarter of a slice."""


@attrs.frozen
class Place:
    """A place in a journal. The saga and its event there tell whether it is still the same journal."""

    position: int = 0
    saga_id: str = ""
    seq: int = 0

    def is_in(self, reader: JournalReader) -> bool:
        """Whether the journal has, or had, this event at this position."""
        found = next(iter(reader.tail(self.position - 1, 1)), None)
        if found is None:  # it was pruned, and all behind it; or this journal never had as many
            return self.position <= reader.end_position()
        is_gone = found.position != self.position
        return is_gone or found.flaw is not None or (found.saga_id, found.seq) == (self.saga_id, self.seq)


@attrs.frozen
class CursorFile:
    """Where the last process had come to. It is replaced as a whole; one that is no cursor counts as none."""

    path: Path

    def read(self) -> Place:
        """The stored place; the journal's beginning if there is none."""
        try:
            stored = json.loads(self.path.read_text())
            return Place(int(stored["position"]), str(stored["saga_id"]), int(stored["seq"]))
        except FileNotFoundError:
            return Place()
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log().warning("%s cannot be read (%s); all events are told again", self.path, type(error).__name__)
            return Place()

    def write(self, place: Place) -> None:
        """Store the place; OSError if it cannot be."""
        draft = self.path.with_name(self.path.name + ".new")
        file = open_private(draft, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(file, json.dumps(attrs.asdict(place)).encode())
        finally:
            os.close(file)
        draft.replace(self.path)


class Tail:
    """Reads a journal from the cursor on, and tells the listeners, in its order.

    There need not be a journal yet. What was in it when this was made, and lies behind the cursor, is told as
    `repeated`. The cursor follows what was told, and not what was read; `clock` is in seconds.
    """

    def __init__(
        self,
        open_journal: Callable[[], JournalReader],
        cursor: CursorFile,
        listeners: Listeners,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_journal = open_journal
        self._cursor = cursor
        self._listeners = listeners
        self._clock = clock
        self._reader: JournalReader | None = None
        self._throttle = Throttle(clock)
        self._place = Place()
        self._repeated_until = 0
        self._marks: deque[tuple[int, Place]] = deque()
        self._saved_at = float("-inf")
        self._batch = FEW
        self._expected_by = clock() + MAKING
        self._is_young = True
        with contextlib.suppress(JournalError):
            self._open()
        self._is_young = False

    @property
    def position(self) -> int:
        """The position of the last event that was read."""
        return self._place.position

    def read(self, seconds: float = SLICE) -> bool:
        """Read and tell for so long; whether there may be more. A journal that cannot be read now is read later."""
        try:
            self._open()
            return self._read(self._clock() + seconds)
        except JournalError as error:
            is_being_made = self._reader is None and self._clock() < self._expected_by
            if not is_being_made and self._throttle.allows(type(error).__name__):
                _log().warning("telemetry waits: %s", error)
            return False

    def caught_up(self, position: int) -> bool:
        """Whether the listeners were told of everything up to this position."""
        return self.position >= position and self._listeners.settled >= self._listeners.emitted

    def save(self, *, at_once: bool = False) -> None:
        """Store how far the listeners were told, unless that was done just now."""
        now, settled = self._clock(), self._listeners.settled
        if (now - self._saved_at < SAVE_EVERY and not at_once) or not self._marks or self._marks[0][0] > settled:
            return
        while self._marks and self._marks[0][0] <= settled:
            _, place = self._marks.popleft()
        self._saved_at = now
        try:
            self._cursor.write(place)
        except OSError as error:
            if self._throttle.allows("cursor"):
                _log().warning("%s cannot be written (%s); events may be told again", self._cursor.path, error)

    @property
    def _reading(self) -> JournalReader:
        assert self._reader is not None
        return self._reader

    def _open(self) -> None:
        if self._reader is not None:
            return
        reader = self._open_journal()
        try:
            self._place = self._found_place(reader)
            if self._is_young or self._place.position:  # else the journal was made since, and nobody was told of it
                self._repeated_until = reader.end_position()
        except JournalError:
            reader.close()
            raise
        self._reader, self._translator = reader, Translator(reader)

    def _found_place(self, reader: JournalReader) -> Place:
        place = self._cursor.read()
        if place.position and not place.is_in(reader):
            _log().warning("%s is of another journal; all events of this one are told", self._cursor.path)
            return Place()
        return place

    def _read(self, until: float) -> bool:
        wanted = self._listeners.wanted
        if not wanted:
            return self._skip()
        skip = unneeded(wanted)
        while True:
            asked, begun, before = self._batch, self._clock(), self.position
            found = self._reading.tail(before, asked, skip)
            for one in found:
                self._tell(one, wanted)
                self._place = Place(one.position, one.saga_id, one.seq)
            if not found:
                self._pass_over_pruned()
            if self.position > before:
                self._mark()
            now = self._clock()
            self._batch = min(MANY, asked * 2) if now - begun < SLICE / 4 else max(1, asked // 2)
            if self.position - before < asked:
                return False
            if now >= until or self._listeners.are_behind:
                return True

    def _skip(self) -> bool:
        """Nobody wants to be told of anything: go to the end."""
        end = self._reading.end_position()
        if end > self.position:
            last = self._reading.tail(end - 1, 1)
            self._place = Place(end, last[0].saga_id, last[0].seq) if last else Place(end)
            self._mark()
        return False

    def _pass_over_pruned(self) -> None:
        """Go to the end if there is nothing on the way: whoever waits until this is there would wait for ever."""
        end = self._reading.end_position()
        if end > self.position and not self._reading.tail(self.position, 1):
            self._place = Place(end)

    def _tell(self, found: Tailed, wanted: frozenset[EventName]) -> None:
        if found.event is None:
            self._translated(found, wanted)
            if self._throttle.allows("flaw"):
                _log().error("an event at position %d is told to nobody: %s", found.position, found.flaw)
            return
        event = self._translated(found, wanted)
        if event is not None:
            self._listeners.emit(event)

    def _translated(self, found: Tailed, wanted: frozenset[EventName]) -> TelemetryEvent | None:
        try:
            return self._translator.translate(found, wanted, repeated=found.position <= self._repeated_until)
        except JournalError:
            raise
        except Exception as error:  # one saga that nobody can make sense of must not silence the others
            if self._throttle.allows(type(error).__name__):
                _log().exception("event %d of saga %r is told to nobody", found.seq, found.saga_id)
            return None

    def _mark(self) -> None:
        """Remember that this place is reached once the events emitted until now are told."""
        emitted = self._listeners.emitted
        if self._marks and self._marks[-1][0] == emitted:
            self._marks.pop()
        if not self._marks or self._marks[-1][1] != self._place:
            self._marks.append((emitted, self._place))


class TelemetryActor(Child):
    """Carries hints and time to a `Tail`. The only child beside the workers that imports users' modules."""

    def __init__(self) -> None:
        super().__init__()
        self._tail: Tail | None = None
        self._asked: tuple[Address, int] | None = None

    def take(self, message: Any, sender: Address) -> None:
        """Word from the root or the supervisor."""
        if isinstance(message, Birth):
            self._begin(message.spec)
            self.send(sender, self.born(message.role, message.number))
        elif isinstance(message, Committed):
            self._read_on()
        elif isinstance(message, CatchUp):
            self._asked = (sender, message.position)
            self._read_on()
        else:
            _log().warning("the telemetry actor was sent a %s, which it does not know", type(message).__name__)

    def woken(self) -> None:
        """Look into the journal."""
        self._read_on()

    def _begin(self, spec: NodeSpec) -> None:
        if self._tail is not None:
            return
        with contextlib.suppress(OSError):  # the folder was there when the life began
            settle_in(spec)
        folder = os.environ.get(FOLDER_VARIABLE) or NodeFolder.of(spec.journal_url).path
        listeners = Listeners.named(spec.telemetry)
        self._tail = Tail(lambda: open_reader(spec.journal_url), CursorFile(Path(folder) / CURSOR_FILE), listeners)
        self.wake_in(BREATH)

    def _read_on(self) -> None:
        if self._tail is None:
            return
        is_more = self._tail.read()
        self._tail.save(at_once=self._asked is not None)
        if self._asked is not None and self._tail.caught_up(self._asked[1]):
            self.send(self._asked[0], CaughtUp(self._asked[1]))
            self._asked = None
        self.wake_in(BREATH if is_more or self._asked else POLL)


def _log() -> logging.Logger:
    return logging.getLogger(LOGGER)
