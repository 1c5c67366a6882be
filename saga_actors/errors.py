"""Every error of the package; what a caller can get wrong, and what can be wrong with the world."""

from __future__ import annotations


class SagaActorsError(Exception):
    """The root of every error that saga_actors raises."""


class DefinitionError(SagaActorsError):
    """A saga's definition is wrong; raised while the class is made, or before anything is journalled."""


class DefinitionMismatchError(DefinitionError):
    """The node serves another definition of this saga than the caller has; restart whichever of the two is older."""


class NotServedError(SagaActorsError):
    """The node has not been asked to serve this saga, or could not import it."""


class ContextError(SagaActorsError):
    """A context or a result cannot be stored so that it comes back equal; the message has the path of the value."""


class SagaIdError(SagaActorsError):
    """A saga id is empty, too long or has control characters; or it already belongs to another saga or input."""


class UnknownSagaError(SagaActorsError):
    """The journal holds no saga of this id."""


class SagaTimeoutError(SagaActorsError):
    """The wait is over, the saga is not; ask again with `result(saga_id)`."""

    def __init__(self, message: str, saga_id: str) -> None:
        super().__init__(message)
        self.saga_id = saga_id


class StartManyError(SagaActorsError):
    """Not all sagas of a `start_many` are known to be accepted; those in `accepted` are.

    `refused` says why each of the others was not; of the `unanswered` ones nobody knows, so start them again under
    the same ids.
    """

    def __init__(
        self,
        accepted: list[str],
        refused: dict[str, SagaActorsError],
        unanswered: list[str],
        error: SagaActorsError | None = None,
    ) -> None:
        first = next(iter(refused.values()), error)
        why = f"; the first: {first}" if first is not None else ""
        super().__init__(
            f"{len(accepted)} sagas were accepted, {len(refused)} refused, and {len(unanswered)} not answered for in "
            f"time{why}"
        )
        self.accepted = accepted
        self.refused = refused
        self.unanswered = unanswered


class SagaInterruptedError(KeyboardInterrupt):
    """Ctrl-C ended the wait, not the saga; its id is in `saga_id`. Like any Ctrl-C it is no `Exception`."""

    def __init__(self, message: str, saga_id: str) -> None:
        super().__init__(message)
        self.saga_id = saga_id


class SagaHeldError(SagaActorsError):
    """The saga is parked for an operator; `reason` says why."""

    def __init__(self, message: str, saga_id: str, reason: str) -> None:
        super().__init__(message)
        self.saga_id = saga_id
        self.reason = reason


class NotAllowedError(SagaActorsError):
    """What an operator asked for makes no sense as the saga stands; nothing was changed, the message says what would.

    `status(saga_id).allowed_actions` lists what can be done.
    """


class SagaPrunedError(SagaActorsError):
    """The saga has ended, and its records were pruned since; `status` still says how it ended."""


class OverloadedError(SagaActorsError):
    """The node has as many unfinished sagas as it may have, or no room on its disk; nothing was accepted, try later."""


class CoordinatorClosedError(SagaActorsError):
    """This coordinator was closed; make a new one."""


class NestedCoordinatorError(SagaActorsError):
    """A Coordinator was made while a node imports the module; put it under `if __name__ == "__main__":`."""


class EventLoopError(SagaActorsError):
    """A blocking call was made on a thread that runs an event loop; use an `AsyncCoordinator`."""


class JournalError(SagaActorsError):
    """The journal cannot be opened, read or written."""


class JournalUrlError(JournalError):
    """A journal's URL has a scheme or a path that is not understood."""


class SchemaError(JournalError):
    """The file is not a journal, or was written by a newer version."""


class CorruptionError(JournalError):
    """A record does not match its checksum, or does not follow the one before it; nothing is executed on it."""


class EpochError(JournalError):
    """Another supervisor has taken the journal over; whoever gets this must append nothing more."""


class CommitUnknownError(JournalError):
    """A commit raised, and may or may not be durable; fold again before anything else."""


class JournalFullError(JournalError):
    """The disk is full, and certainly nothing of this batch was written; make room, or try again later."""


class NodeError(SagaActorsError):
    """The node could not be started or reached."""


class NodeUnreachableError(NodeError):
    """No node answered in time."""


class TransportError(NodeError):
    """The hardened transport is not in force, or the key of this user cannot be used."""


class Abort(Exception):
    """Raised by a step: it failed, and no retry will help. In a compensation: give up, and let an operator see it."""


class OutcomeUnknown(Exception):
    """Raised by a step: it may or may not have happened. It is retried with the same key, and undone if it ends so."""
