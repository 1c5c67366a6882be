"""What `show -o json` and `stuck -o json` print. Stable, as `json_form` is, and in its words."""

from __future__ import annotations

import json
from collections.abc import Sequence

from saga_actors.cli import json_form
from saga_actors.cli.account import Account
from saga_actors.cli.interventions import Intervention, interventions
from saga_actors.cli.json_form import Fields
from saga_actors.cli.lanes import BackLane, ForwardLane, StepLanes, Try, lanes_of
from saga_actors.cli.remedies import Remedy


def shown(account: Account, cures: Sequence[Remedy], *, contexts: bool) -> Fields:
    """All that there is to say of a saga; its contexts only if they are asked for."""
    execution = account.execution
    fields = told(account, cures) | {"served": account.status.served}
    fields["deadline"] = json_form.moment(execution.deadline if execution else None)
    fields["operations"] = [_intervention(each) for each in interventions(account.events)]
    rows = lanes_of(execution, account.events) if execution is not None else ()
    fields["steps"] = [_step(row) for row in rows]
    if contexts and execution is not None:
        fields["context"] = json.loads(execution.context)
        for step, fields_of in zip(execution.steps, fields["steps"], strict=True):
            fields_of["context_before"] = json.loads(step.before) if step.forward.begun else None
    return fields


def told(account: Account, cures: Sequence[Remedy]) -> Fields:
    """The status, and what an operator wants to know beside; but for whether a node serves it, which not all ask."""
    execution, status = account.execution, json_form.status(account.status)
    del status["served"]
    return status | {
        "went_back_for": json_form.failure(execution.failure if execution else None),
        "undo_failure": json_form.failure(execution.undo_failure if execution else None),
        "unreadable": None if account.status.pruned else account.gap,
        "commands": [cure.command for cure in cures],
    }


def _step(row: StepLanes) -> Fields:
    return {
        "step": row.name,
        "has_undo": row.has_undo,
        "forward": _lane(row.forward) | {"settled_by": row.forward.settled_by},
        "back": _lane(row.back),
    }


def _lane(lane: ForwardLane | BackLane) -> Fields:
    return {
        "standing": None if lane.standing is None else str(lane.standing),
        "idempotency_key": lane.key,
        "attempts": [_attempt(each) for each in lane.tries],
    }


def _attempt(each: Try) -> Fields:
    return {
        "attempt": each.number,
        "ending": None if each.end is None else str(each.end),
        "started_at": json_form.moment(each.began),
        "ended_at": json_form.moment(each.ended),
        "reason": each.fault.reason if each.fault else None,
        "error_type": each.fault.error_type if each.fault else None,
        "quiet": each.quiet,
        "again_at": json_form.moment(each.again_at),
    }


def _intervention(each: Intervention) -> Fields:
    return {
        "at": json_form.moment(each.at),
        "action": str(each.action),
        "what": each.what,
        "by": each.by,
        "reason": each.reason,
    }
