"""What an operator does by a coordinator: cancel, retry, settle, skip, resolve, accept, prune.

Each is journalled with who asked, why and when, before it returns, and `history` shows it. Each is done once, however
often the message that asks for it is sent. What makes no sense as the saga stands raises NotAllowedError and changes
nothing; `status(saga_id).allowed_actions` lists what does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs

from saga_actors import arguments
from saga_actors.definition import Saga, saga_named
from saga_actors.errors import ContextError, SagaActorsError
from saga_actors.events import HoldReason
from saga_actors.execution import Execution
from saga_actors.journal.codec import apply_result, decode_context
from saga_actors.messages import (
    AcceptPlan,
    CancelSaga,
    DropTombstones,
    ListSagas,
    OperationDone,
    PruneSagas,
    Refused,
    ResolveSaga,
    RetrySaga,
    SagaCancelled,
    SagasPruned,
    SettleStep,
    SkipUndo,
    checked_id,
    new_id,
)
from saga_actors.outcomes import Cancellation, SagaState

if TYPE_CHECKING:
    from saga_actors.actors.archive import Archive
    from saga_actors.actors.attachment import Attachment
    from saga_actors.actors.offer import Offer
    from saga_actors.node_spec import NodeSpec
    from saga_actors.waiting import Waiting

PAGE = 200
"""Sagas whose new definition is accepted in one bundle."""


@attrs.frozen
class AcceptReport:
    """What came of `accept`: the ids of the sagas that go on (or would), and of the others why they do not."""

    accepted: tuple[str, ...]
    refused: dict[str, str]


class OperatorVerbs:
    """The part of what coordinators do that is for operators, as coroutines."""

    _archive: Archive
    _attachment: Attachment
    _offer: Offer
    _spec: NodeSpec
    _waiting: Waiting

    async def cancel(self, saga_id: str, reason: str, *, by: str | None = None) -> Cancellation:
        """Turn a saga back: from here no attempt starts forward, and one in flight is awaited.

        Durable when it returns `accepted`; else it says why that came too late: `already_going_back`, or how the saga
        has ended. A held saga that has not turned back yet does so now. The outcome's failure has the kind
        `cancelled` and this reason, and the step's own failure, if there is one, as its `cause`.
        """
        cancelled = await self._operate(
            CancelSaga(correlation_id=new_id(), saga_id=checked_id(saga_id), reason=reason, by=by)
        )
        if not isinstance(cancelled, SagaCancelled):
            raise unexpected(cancelled)
        return cancelled.answer

    async def retry(self, saga_id: str, *, by: str, reason: str) -> SagaState:
        """Try the failed undo, or the held step, again, with fresh retries; the answer is how the saga stands now.

        Durable when it returns, as are `settle`, `skip`, `resolve` and `accept`.
        """
        return await self._done(RetrySaga(correlation_id=new_id(), saga_id=checked_id(saga_id), by=by, reason=reason))

    async def settle(
        self,
        saga_id: str,
        step: str,
        happened: bool,
        result: Any = None,
        *,
        by: str,
        reason: str,
        saga: type[Saga[Any]] | None = None,
    ) -> SagaState:
        """Say whether the unknown step of a held saga happened.

        If it did, the saga goes on with `result`, which is what the step would have returned; or it undoes the step
        with it, if it is going back and has not come past it. If it did not, the step has failed. A context that is no
        dict needs the class of the saga in this process (`saga`). Raises ContextError if `result` is none that the step
        could have returned.
        """
        if result is not None and not happened:
            raise SagaActorsError(f"settle was given a result of step {step!r}, which did not happen; leave it out")
        context = None if result is None else await self._context_after(checked_id(saga_id), step, result, saga)
        return await self._done(
            SettleStep(
                correlation_id=new_id(),
                saga_id=checked_id(saga_id),
                by=by,
                reason=reason,
                step=step,
                happened=happened,
                context=context,
            )
        )

    async def skip(self, saga_id: str, step: str, *, by: str, reason: str) -> SagaState:
        """The undo of `step`, which failed, was done by hand: the rollback goes on with what is left."""
        skip = SkipUndo(correlation_id=new_id(), saga_id=checked_id(saga_id), by=by, reason=reason, step=step)
        return await self._done(skip)

    async def resolve(self, saga_id: str, state: SagaState | str, *, by: str, reason: str) -> SagaState:
        """End a fatal or held saga by hand, as completed, compensated or fatal. This is final.

        Its outcome has `resolved_by`, and `left` to undo. Also for a saga whose records cannot be read.
        """
        chosen = arguments.state_named(state)
        if chosen is None:
            raise SagaActorsError("state is None; expected completed, compensated or fatal")
        resolve = ResolveSaga(correlation_id=new_id(), saga_id=checked_id(saga_id), by=by, reason=reason, state=chosen)
        return await self._done(resolve)

    async def accept(
        self,
        saga: type[Saga[Any]] | str,
        fingerprint: str | None = None,
        *,
        by: str,
        reason: str,
        dry_run: bool = False,
    ) -> AcceptReport:
        """Take the definition that the node serves for all sagas of this class that are held since it changed.

        `fingerprint` is that of the new definition; for a class it is its own unless given. With `dry_run` nothing is
        changed, and the report says what would be. Each saga goes on, or stays held, for itself.
        """
        name, wanted = await self._definition(saga, fingerprint)
        accepted: list[str] = []
        refused: dict[str, str] = {}
        async for ids in self._held_for_definition(name):
            messages = [
                AcceptPlan(
                    correlation_id=new_id(),
                    saga_id=saga_id,
                    by=by,
                    reason=reason,
                    fingerprint=wanted,
                    dry_run=dry_run,
                )
                for saga_id in ids
            ]
            for saga_id, answer in zip(ids, await self._attachment.ask_many(messages), strict=True):
                _note(saga_id, answer, accepted, refused)
        return AcceptReport(tuple(accepted), refused)

    async def prune(
        self,
        older_than: timedelta | datetime | None = None,
        states: Iterable[SagaState | str] = (SagaState.COMPLETED, SagaState.COMPENSATED),
        *,
        tombstones_older_than: timedelta | datetime | None = None,
    ) -> int:
        """Remove what is kept of sagas that ended so, and that long ago; how many were removed.

        A tombstone of each stays, so that its id still stands for that saga; `tombstones_older_than` removes those of
        sagas pruned so long ago, and frees the ids. It is done in small commits beside the sagas that run; durable
        when it returns, and in part if it raises. Unfinished and held sagas are never removed, fatal ones if named.
        """
        if older_than is None and tombstones_older_than is None:
            raise SagaActorsError("prune was given neither older_than nor tombstones_older_than; say how old")
        count = 0
        if older_than is not None:
            before, chosen = arguments.past(older_than, "older_than"), _chosen(states)
            count += await self._swept(
                lambda after: PruneSagas(correlation_id=new_id(), before=before, states=chosen, after=after)
            )
        if tombstones_older_than is not None:
            until = arguments.past(tombstones_older_than, "tombstones_older_than")
            count += await self._swept(lambda after: DropTombstones(correlation_id=new_id(), before=until, after=after))
        return count

    # How.

    async def _operate(self, message: Any) -> Any:
        from saga_actors.actors.attachment import Wait

        reply = await self._attachment.ask(message, Wait(None))
        if isinstance(reply, Refused):
            raise error_of_refusal(reply)
        return reply

    async def _done(self, message: Any) -> SagaState:
        done = await self._operate(message)
        if not isinstance(done, OperationDone):
            raise unexpected(done)
        return done.state

    async def _swept(self, message: Any) -> int:
        count, after = 0, None
        while True:
            pruned = await self._operate(message(after))
            if not isinstance(pruned, SagasPruned):
                raise unexpected(pruned)
            count, after = count + pruned.count, pruned.next_page
            if after is None:
                return count

    async def _context_after(self, saga_id: str, step: str, result: Any, saga: type[Saga[Any]] | None) -> bytes:
        """The saga's context, encoded, had `step` returned `result`."""
        execution = await self._waiting.call(self._archive.execution, saga_id)
        if step not in execution.plan.places:
            steps = ", ".join(execution.plan.places)
            raise SagaActorsError(f"saga {saga_id!r} has no step {step!r}; its steps are {steps}")
        before, context_type = execution.steps[execution.index(step)].before, _context_type(execution, saga)
        decoded, limit = decode_context(before, context_type), self._spec.context_limit
        after = apply_result(before, decoded, result, context_type, step=step, limit=limit)
        return before if after is None else after

    async def _definition(self, saga: type[Saga[Any]] | str, fingerprint: str | None) -> tuple[str, str]:
        """Name and fingerprint of what is to be accepted; a class is served first."""
        name = arguments.saga_name(saga)
        if name is None or (isinstance(saga, str) and fingerprint is None):
            raise SagaActorsError(
                f"accept was given saga {saga!r} and no fingerprint; expected a saga's class, or a name and the "
                "fingerprint of its new definition"
            )
        if isinstance(saga, str) or fingerprint not in (None, saga.definition.plan.fingerprint):
            assert fingerprint is not None
            return name, fingerprint
        from saga_actors.actors.attachment import Wait

        await self._attachment.have_served(self._offer.use(saga), saga.definition.plan, Wait(None))
        return name, saga.definition.plan.fingerprint

    async def _held_for_definition(self, name: str) -> AsyncIterator[list[str]]:
        page: int | None = None
        while True:
            reply = await self._operate(ListSagas(new_id(), SagaState.HELD, name, PAGE, page))
            ids = [each.saga_id for each in reply.sagas if (each.held_reason or "").startswith(_CHANGED)]
            if ids:
                yield ids
            page = reply.next_page
            if page is None:
                return


_CHANGED = f"{HoldReason.DEFINITION_CHANGED}:"


def _note(saga_id: str, done: Any, accepted: list[str], refused: dict[str, str]) -> None:
    if isinstance(done, Refused):
        refused[saga_id] = done.message
    else:
        accepted.append(saga_id)


def _chosen(states: Iterable[SagaState | str]) -> tuple[SagaState, ...]:
    given = [states] if isinstance(states, str) else [*states]
    chosen = tuple(state for state in map(arguments.state_named, given) if state is not None)
    for state in chosen:
        if not state.ended:
            raise SagaActorsError(f"prune was given the state {state}; only completed, compensated and fatal are ends")
    if not chosen:
        raise SagaActorsError("prune was given no states; expected some of completed, compensated and fatal")
    return chosen


def _context_type(execution: Execution, saga: type[Saga[Any]] | None) -> Any:
    chosen = saga if saga is not None else saga_named(execution.plan.saga)
    if chosen is not None:
        if chosen.definition.name != execution.plan.saga:
            raise SagaActorsError(
                f"saga {execution.saga_id!r} is a {execution.plan.saga}, not a {chosen.definition.name}"
            )
        return chosen.definition.context_type
    if execution.plan.context == "dict":
        return dict
    raise ContextError(
        f"the context of saga {execution.saga_id!r} is a {execution.plan.context.split('(')[0]}, of which this "
        f"process has no class; import {execution.plan.saga}, or give it as saga=..."
    )


def error_of_refusal(refused: Refused) -> SagaActorsError:
    """What a refusal is to a caller."""
    from saga_actors.actors.attachment import error_of

    return error_of(refused)


def unexpected(reply: Any) -> SagaActorsError:
    """The answer is none to what was asked."""
    return SagaActorsError(f"the node answered with a {type(reply).__name__}, which means nothing here")
