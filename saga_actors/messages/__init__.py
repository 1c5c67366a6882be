"""The messages by which code that lives among actors uses saga_actors: what one sends, and what comes back.

Send them to `node.supervisor` (all of them) or `node.status_actor` (`GetStatus`, `ListSagas`, `GetHistory`); the answer
carries the correlation id of its question. Every message is harmless when lost, doubled or late: ids of sagas are made
before the first send, so asking again is safe.
"""

from saga_actors.messages.asking import (
    GetHistory,
    GetStatus,
    HistoryIs,
    ListedSaga,
    ListSagas,
    SagasAre,
    StatusIs,
)
from saga_actors.messages.common import ID_LENGTH, Refusal, Refused, checked_id, new_id
from saga_actors.messages.ending import AwaitSaga, SagaEnded, SagaIsHeld, decoded_outcome
from saga_actors.messages.operating import (
    AcceptPlan,
    CancelSaga,
    DropTombstones,
    OperationDone,
    PruneSagas,
    ResolveSaga,
    RetrySaga,
    SagaCancelled,
    SagasPruned,
    SettleStep,
    SkipUndo,
)
from saga_actors.messages.starting import (
    NewSaga,
    RunSaga,
    SagasStarted,
    SagaStarted,
    StartSaga,
    StartSagas,
    in_messages,
    new_saga,
)

__all__ = [
    "ID_LENGTH",
    "AcceptPlan",
    "AwaitSaga",
    "CancelSaga",
    "DropTombstones",
    "GetHistory",
    "GetStatus",
    "HistoryIs",
    "ListSagas",
    "ListedSaga",
    "NewSaga",
    "OperationDone",
    "PruneSagas",
    "Refusal",
    "Refused",
    "ResolveSaga",
    "RetrySaga",
    "RunSaga",
    "SagaCancelled",
    "SagaEnded",
    "SagaIsHeld",
    "SagaStarted",
    "SagasAre",
    "SagasPruned",
    "SagasStarted",
    "SettleStep",
    "SkipUndo",
    "StartSaga",
    "StartSagas",
    "StatusIs",
    "checked_id",
    "decoded_outcome",
    "in_messages",
    "new_id",
    "new_saga",
]
