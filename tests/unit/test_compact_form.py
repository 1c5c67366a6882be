"""Frozen values on their way from process to process."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest

from saga_actors.actors.protocol import AttemptKey, Bundle, Committed, FromWorker, Order, Posted, ToWorker
from saga_actors.events import Ending, Fault, Phase, WorkerId
from saga_actors.inputs import Failed, Quieted, Succeeded
from saga_actors.messages import AwaitSaga, NewSaga, RunSaga, SagaEnded, SagaStarted, StartSaga
from saga_actors.outcomes import Compensated, CompensationFailed, Completed, Failure, FailureKind

WORKER = WorkerId(number=1, pid=100, started=1.5)
KEY = AttemptKey("s1", Phase.COMPENSATE, "charge", 2, 3)
NAME = KEY[1:]
FAILURE = Failure(FailureKind.FAILED, "charge", "declined", "shop.Declined", 2, "Traceback")
START: dict[str, Any] = {
    "correlation_id": "c1",
    "saga_id": "s1",
    "saga": "shop",
    "fingerprint": "f" * 16,
    "digest": "d" * 32,
    "context": b"{}",
    "deadline": 1.5,
}
REPORTS = (
    Posted(1, "s1", Succeeded(*NAME, b"{}")),
    Posted(2, "s2", Failed(*NAME, Ending.TIMED_OUT, Fault("late", "shop.Late", "Traceback", retryable=False))),
    Posted(3, "s3", Quieted(*NAME)),
    Posted(4, "s4", Succeeded(*NAME)),
)
VALUES = [
    WORKER,
    Order(KEY, "shop", b"{}", 30.0, "unknown"),
    ToWorker(3, 7, (Order(KEY, "shop", b"{}", 30.0, "unknown"), Order(KEY, "shop", b"", 1.5)), (1, 2)),
    ToWorker(3, 8),
    *REPORTS,
    FromWorker(WORKER, 3, 7, REPORTS, retiring=True),
    FromWorker(WORKER, 3, 7),
    Bundle(("a", "b")),
    Committed(5),
    RunSaga(**START),
    StartSaga(**START),
    NewSaga("s1", "d" * 32, b"{}"),
    AwaitSaga("c1", "s1"),
    SagaStarted("c1", "s1"),
    SagaEnded("c1", "s1", "shop", Completed(b"{}", saga_id="s1", ignored=("tell",))),
    SagaEnded("c1", "s1", "shop", Compensated(FAILURE, b"{}", saga_id="s1", in_doubt=("charge",))),
    SagaEnded("c1", "s1", "shop", CompensationFailed(FAILURE, FAILURE, saga_id="s1", context=b"{}")),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_arrives_as_it_was_sent(value: Any) -> None:
    """All fields and their types come back, nested ones too, and it is frozen as before."""
    for back in (pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)), copy.deepcopy(value)):
        assert type(back) is type(value)
        assert back == value
        assert repr(back) == repr(value)
        for field in attrs.fields(type(value)):
            assert type(getattr(back, field.name)) is type(getattr(value, field.name))
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(back, attrs.fields(type(value))[0].name, None)


def test_no_names_of_fields_travel() -> None:
    """What thousands of messages would repeat is left out of them."""
    orders = tuple(Order(AttemptKey(f"s{i}", *NAME), "shop", b"{}", 30.0) for i in range(32))
    reports = tuple(Posted(i, f"s{i}", Succeeded(*NAME, b"{}")) for i in range(32))
    for message in (ToWorker(1, 1, orders), FromWorker(WORKER, 1, 1, reports), RunSaga(**START)):
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        assert not any(name in data for name in (b"saga_id", b"context", b"attempt", b"timeout", b"serial"))
