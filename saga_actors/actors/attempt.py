"""One attempt in a worker: what goes into the user's code, and what comes out of it as a report."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, cast

import attrs

from saga_actors.actors.protocol import AttemptKey, Order
from saga_actors.actors.timers import Timer
from saga_actors.definition import Definition, Step
from saga_actors.errors import Abort, ContextError, OutcomeUnknown
from saga_actors.events import Ending, Fault, Phase
from saga_actors.inputs import Failed, Quieted, Succeeded
from saga_actors.journal.codec import DEFAULT_LIMIT, apply_result, decode_context
from saga_actors.signature import is_async
from saga_actors.step_context import StepContext

REASON_BYTES = 2_000
"""A fault's reason is cut at so many bytes of UTF-8."""

TRACEBACK_BYTES = 8_000
"""A fault's traceback is cut in its middle to so many bytes of UTF-8."""

_PACKAGE = __name__.partition(".")[0] + "."


class UnusableError(Exception):
    """The context cannot be read, or the result cannot be stored; its text says which step, where and why.

    `ran`: the code of a step came to its end, and so very likely had its effect.
    """

    def __init__(self, message: str, *, ran: bool = False) -> None:
        super().__init__(message)
        self.ran = ran


@attrs.frozen
class Side:
    """One side of a step, its execute or its compensate: what all its attempts share. `code` is the user's function."""

    definition: Definition
    step: Step[Any]
    is_undo: bool
    code: Callable[[Any], Any]
    is_async: bool

    @classmethod
    def of(cls, definition: Definition, step: str, phase: Phase) -> Side:
        """This side of the step of that name; raises DefinitionError if the saga has no such step."""
        named, is_undo = definition.step_named(step), phase is Phase.COMPENSATE
        code = named.compensate if is_undo else named.execute
        if code is None:
            code = _nothing_to_undo
        return cls(definition, named, is_undo, code, is_async(code))


@attrs.define(eq=False)
class Attempt:
    """An order on its way through the user's code. The fields from `is_async` on are the runner's, under its lock."""

    order: Order
    side: Side
    limit: int = DEFAULT_LIMIT
    is_async: bool = False
    thread: int | None = None
    task: asyncio.Task[Any] | None = None
    timers: tuple[Timer, ...] = ()
    late: bool = False
    ended: bool = False

    @property
    def key(self) -> AttemptKey:
        """Its name."""
        return self.order.key

    # In.

    def context(self) -> Any:
        """The context that the user's function gets; raises UnusableError."""
        try:
            return decode_context(self.order.context, self.side.definition.context_type)
        except ContextError as error:
            raise UnusableError(f"step {self.key.step!r}: {error}") from error

    def step_context(self, now: float) -> StepContext:
        """What `current_step()` answers, given that the code begins `now` (POSIX seconds)."""
        order = self.order
        key = order.key
        outcome = cast(Literal["completed", "unknown"] | None, order.outcome) if self.side.is_undo else None
        times_out_at = now + order.timeout
        return StepContext(key.saga_id, order.saga, key.step, key.phase, key.attempt, outcome, times_out_at)

    # Out.

    def succeeded(self, context: Any, result: Any) -> Succeeded:
        """The report of a call that returned `result`; raises UnusableError."""
        if not self.side.is_undo:
            return Succeeded(*self._name, self._applied(context, result))
        if result is not None:
            kind = type(result).__qualname__
            raise UnusableError(
                f"the compensation of step {self.key.step!r} returned {kind}; a compensation returns None"
            )
        return Succeeded(*self._name)

    def _applied(self, context: Any, result: Any) -> bytes | None:
        kind, step = self.side.definition.context_type, self.key.step
        try:
            return apply_result(self.order.context, context, result, kind, step=step, limit=self.limit)
        except ContextError as error:
            raise UnusableError(str(error), ran=True) from error
        except Exception as error:  # a mapping of the user's own may raise anything
            raise UnusableError(f"the result of step {step!r} cannot be read: {_reason(error)}", ran=True) from error

    def failed(self, error: BaseException) -> Failed:
        """The report of a call that raised."""
        if isinstance(error, UnusableError):
            return Failed(*self._name, Ending.UNUSABLE if error.ran else Ending.FAILED, unusable(str(error)))
        ending, retryable = self._judged(error)
        fault = Fault(_cut(_reason(error), REASON_BYTES), class_name(type(error)), _traceback(error), retryable)
        return Failed(*self._name, ending, fault)

    def _judged(self, error: BaseException) -> tuple[Ending, bool]:
        """How an attempt ends with this error, and whether it may be retried."""
        if isinstance(error, Abort):
            return Ending.FAILED, False
        step, is_undo = self.side.step, self.side.is_undo
        if isinstance(error, (OutcomeUnknown, asyncio.CancelledError, *step.unknown_on)):
            return Ending.FAILED if is_undo else Ending.UNKNOWN, True
        if not isinstance(error, Exception):
            return Ending.FAILED, True
        retry = step.compensate_retries if is_undo else step.retries
        return Ending.FAILED, isinstance(error, retry.on)

    def timed_out(self) -> Failed:
        """The report of a call that is not over in time; it is not quiet yet."""
        return Failed(*self._name, Ending.TIMED_OUT, Fault(f"timed out after {self.order.timeout:g} s"))

    def quieted(self) -> Quieted:
        """The report of a call that timed out, and has come to rest without success."""
        return Quieted(*self._name)

    @property
    def _name(self) -> tuple[Phase, str, int, int]:
        return self.order.key[1:]


def unusable(reason: str) -> Fault:
    """The fault of a context or a result that cannot be used: no retry will help."""
    return Fault(_cut(reason, REASON_BYTES), class_name(ContextError), retryable=False)


def class_name(cls: type) -> str:
    """A class as `module.Class`, or `Class` if it is built in."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _nothing_to_undo(_: Any) -> None:
    """Stands in for a compensation that is not there any more; the plan is pinned, so it is not called (P14)."""
    raise Abort("the step has no compensation")


def _reason(error: BaseException) -> str:
    try:
        return str(error) or type(error).__qualname__
    except Exception:  # an exception's own __str__ is user code as well
        return type(error).__qualname__


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(type(error), error, _user_frames(error.__traceback__)))
    except Exception:  # formatting asks the exception, and its causes, for their texts
        text = "".join(traceback.format_tb(_user_frames(error.__traceback__)))
    return _cut(text, TRACEBACK_BYTES, keep_end=True)


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and str(frames.tb_frame.f_globals.get("__name__")).startswith(_PACKAGE):
        frames = frames.tb_next
    return frames


def _cut(text: str, most: int, *, keep_end: bool = False) -> str:
    """`text` in at most so many bytes of UTF-8, without its end, or with `keep_end` without its middle."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= most:
        return data.decode()
    mark = " [cut] "
    room = most - len(mark)
    tail = room // 2 if keep_end else 0
    head = data[: room - tail].decode("utf-8", "ignore")
    return head + mark + (data[-tail:].decode("utf-8", "ignore") if tail else "")
