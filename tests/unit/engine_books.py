"""An engine's books between two turns, held against the journal: its slots, its queue, its alarms, what it counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from saga_actors.actors.protocol import AttemptKey
from saga_actors.execution import Execution

Stand = Mapping[str, Execution | None]
"""All sagas by what is durable; None: it is not in the journal."""


def check_books(engine: Any, stand: Stand, now: float) -> None:
    """Nothing leaks, nobody is lost, and nobody waits for nothing; after a turn, on a node that does not drain."""
    known = {saga_id: execution for saga_id, execution in stand.items() if execution is not None}
    unfinished = {saga_id: execution for saga_id, execution in known.items() if execution.state.unfinished}
    assert engine.unfinished == len(unfinished), "miscounted (P12)"
    _check_slots(engine, known, unfinished)
    _check_rooms(engine.slots)
    for saga_id, execution in unfinished.items():
        tracked = engine.sagas.get(saga_id)
        if tracked is not None:
            decided = tracked.decided.execution
            assert decided.applied == tracked.durable == execution.applied, f"{saga_id} is ahead of the journal"
            _is_under_way(engine, decided, now)


def _check_slots(engine: Any, known: Mapping[str, Execution], unfinished: Mapping[str, Execution]) -> None:
    slots = engine.slots
    live = {
        (saga_id, phase, plan.name, attempt.number)
        for saga_id, execution in known.items()
        for phase, plan, attempt in execution.attempts
    }
    assert {key[:4] for key in slots._held} <= live, "a slot is held for what is over (P11)"
    begun = {saga_id for saga_id, execution in unfinished.items() if execution.steps[0].forward.begun}
    put_off = engine._commits._without_room
    assert set(slots._begun) - put_off <= begun, "counted as in flight, and is not (P12)"
    if slots._recovered:
        tracked = {saga_id for saga_id in begun if engine.sagas.get(saga_id) is not None}
        assert tracked <= set(slots._begun), "in flight, and not counted as such"
    assert Counter(slots._begun.values()) == Counter(slots._in_flight)


def _check_rooms(slots: Any) -> None:
    for worker, room in slots._rooms.items():
        kinds = [held.waiting.is_async for held in slots._held.values() if held.room is room]
        assert room.running == len(kinds), f"{worker} runs {len(kinds)}, and {room.running} are counted"
        assert room.free == [room.slots[kind] - kinds.count(bool(kind)) for kind in (0, 1)]
    able = [room for room in slots._rooms.values() if room.open and not room.kept and not room.alone]
    assert slots._free == [sum(max(0, room.free[kind]) for room in able) for kind in (0, 1)]
    for kind in (False, True):
        used = Counter(held.waiting.saga for held in slots._held.values() if held.waiting.is_async is kind)
        assert used == Counter(slots._in_use[kind])
    assert Counter(waiting.saga for waiting in slots._queued.values() if waiting.new) == +Counter(slots._new)
    if any(room.kept for room in slots._rooms.values()):
        assert any(waiting.alone for waiting in slots._queued.values()), "a worker is kept empty for nobody (P11)"


def _is_under_way(engine: Any, execution: Execution, now: float) -> None:
    """P12: it waits for a report, for its time or for a slot."""
    saga_id, wanted = execution.saga_id, execution.wanted
    if wanted is None:
        assert execution.attempts, f"{saga_id} waits for nothing"
        for phase, plan, attempt in execution.attempts:
            key = AttemptKey(saga_id, phase, plan.name, attempt.number, attempt.epoch)
            if engine.team.has(attempt.worker) and engine.team.holdings(attempt.worker) is not None:
                assert engine.slots.holds(key), f"{key} runs without a slot"
    elif wanted.due is not None and wanted.due > now:
        assert saga_id in engine._alarms._times, f"{saga_id} is never woken"
    elif wanted.due is None or saga_id not in engine._alarms._times:
        assert saga_id in engine.slots._queued, f"{saga_id} waits for a slot, and is in no queue"
