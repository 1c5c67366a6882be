"""What becomes of unfinished sagas when their definition is changed between two nodes (P14)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from premises import Premises

pytestmark = pytest.mark.node

MODULE = """
from flows import act, undo
from saga_actors import Saga, step

class Order(Saga):
    {body}
"""
STEPS = {
    "reserve": "reserve = step(act, compensate=undo)",
    "charge": "charge = step(act, compensate=undo)",
    "ship": "ship = step(act, compensate=undo)",
}
BEGIN = """
from waiting import eventually
from flows import Outside
from pathlib import Path
from saga_actors import Coordinator
import changing

if __name__ == "__main__":
    outside = Outside(Path(FOLDER))
    with Coordinator(URL, sagas=["changing"]) as sagas:
        for saga_id in {ids}:
            sagas.start(changing.Order, {{"folder": FOLDER, "gates": {gates}, "gate": "gate", "failing": {failing},
                "aborting": {failing}}}, saga_id=saga_id)
        eventually(lambda: len(outside.calls({until!r})) == len({ids}), 20)
        sagas.close(0)
"""
GO_ON = """
from waiting import eventually
from saga_actors import Coordinator, SagaHeldError, NotAllowedError
from saga_actors.events import PlanAdopted
import changing

if __name__ == "__main__":
    with Coordinator(URL, sagas=["changing"]) as sagas:
{body}
"""


def begin(
    premises: Premises,
    steps: Sequence[str],
    *,
    gates: Sequence[str] = ("charge",),
    failing: Sequence[str] = (),
    ids: Sequence[str] = ("s1",),
    until: str = "charge",
) -> None:
    """Sagas of these steps, on a node that ends while they wait at a gate."""
    define(premises, steps)
    text = BEGIN.format(ids=list(ids), gates=list(gates), failing=list(failing), until=until)
    code, _, err = premises.run(premises.write("begin.py", text))
    assert code == 0, err
    premises.outside.open("gate")


def define(premises: Premises, steps: Sequence[str]) -> None:
    body = "\n    ".join(STEPS.get(name, name) for name in steps)
    premises.write("changing.py", MODULE.format(body=body))


def go_on(premises: Premises, body: str) -> list[str]:
    """What a program says that uses the next node."""
    indented = "".join(f"        {line}\n" for line in body.strip().splitlines())
    code, out, err = premises.run(premises.write("go_on.py", GO_ON.format(body=indented)))
    assert code == 0, err
    return out.splitlines()


RESULT = """
print(type(sagas.result("s1", timeout=20)).__name__)
print([event.appended for event in sagas.history("s1") if isinstance(event, PlanAdopted)])
"""


def test_changed_timeouts_retries_and_code_resume_silently(premises: Premises) -> None:
    """P14: they are no part of what is pinned."""
    begin(premises, ["reserve", "charge", "ship"])
    define(premises, ["reserve", "charge = step(act, compensate=undo, timeout=60, retries=2)", "ship"])
    assert go_on(premises, RESULT) == ["Completed", "[None]"]
    assert premises.outside.names("s1") == ["reserve", "charge", "charge", "ship"]


def test_an_unchanged_definition_resumes_without_an_event(premises: Premises) -> None:
    """P14: nothing was adopted."""
    begin(premises, ["reserve", "charge", "ship"])
    assert go_on(premises, RESULT) == ["Completed", "[]"]


def test_appended_steps_are_run_and_an_event_says_so(premises: Premises) -> None:
    """P14: behind the cursor, all is open."""
    begin(premises, ["reserve", "charge"])
    define(premises, ["reserve", "charge", "ship", "thank = step(act)"])
    assert go_on(premises, RESULT) == ["Completed", "['ship, thank']"]
    assert premises.outside.names("s1")[-2:] == ["ship", "thank"]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (["reserve", "pay = step(act, compensate=undo)", "ship"], "step 2 was 'charge', and is 'pay' now"),
        (["charge", "reserve", "ship"], "step 1 was 'reserve', and is 'charge' now"),
        (["reserve", "charge = step(act)", "ship"], "step 'charge' has started and has lost its undo"),
        (["reserve"], "step 2 was 'charge', and is 'missing' now"),
    ],
    ids=["renamed", "moved", "without its undo", "missing"],
)
def test_a_started_step_that_is_not_there_any_more_holds_its_saga(
    premises: Premises, steps: list[str], says: str
) -> None:
    """P14: with the list of differences; nobody can accept that, and the old definition goes on with it."""
    begin(premises, ["reserve", "charge", "ship"])
    define(premises, steps)
    said = go_on(
        premises,
        """
try:
    sagas.result("s1", timeout=20)
except SagaHeldError as held:
    print(held.reason)
print(sagas.status("s1").allowed_actions)
print(sagas.accept(changing.Order, by="ann", reason="it is fine"))
""",
    )
    assert said[0].startswith("definition_changed: ")
    assert says in said[0]
    assert "accept" in said[1]
    assert "accepted=(), refused={'s1': \"saga 's1': the served definition cannot take this saga over" in said[2]
    define(premises, ["reserve", "charge", "ship"])
    again = 'print(sagas.retry("s1", by="ann", reason="rolled back the release"))' + RESULT
    assert go_on(premises, again) == ["running", "Completed", "[]"]
    assert premises.outside.names("s1") == ["reserve", "charge", "charge", "ship"]


def test_sagas_are_held_and_accepted_in_bulk(premises: Premises) -> None:
    """P14: a step that none of them had started is another one now; a rehearsal changes nothing."""
    ids = ["s1", "s2", "s3"]
    begin(premises, ["reserve", "charge", "ship"], ids=ids)
    define(premises, ["reserve", "charge", "send = step(act)"])
    said = go_on(
        premises,
        """
sagas.have_served()
eventually(lambda: len(sagas.list(state="held")) == 3, 20)
print(sagas.accept(changing.Order, by="ann", reason="it is fine", dry_run=True))
print(len(sagas.list(state="held")))
report = sagas.accept("changing:Order", changing.Order.definition.plan.fingerprint, by="ann", reason="it is fine")
print(sorted(report.accepted), report.refused)
for saga_id in ("s1", "s2", "s3"):
    print(type(sagas.result(saga_id, timeout=20)).__name__)
print([(e.by, e.reason) for e in sagas.history("s1") if isinstance(e, PlanAdopted)])
print(sagas.accept(changing.Order, by="ann", reason="it is fine"))
""",
    )
    assert said[1:3] == ["3", "['s1', 's2', 's3'] {}"]
    assert said[3:6] == ["Completed"] * 3
    assert said[6:] == ["[('ann', 'it is fine')]", "AcceptReport(accepted=(), refused={})"]
    assert premises.outside.names("s1") == ["reserve", "charge", "charge", "send"]


def test_a_saga_that_goes_back_compares_only_the_steps_it_started(premises: Premises) -> None:
    """P14: what it never came to may be anything, or nothing."""
    begin(
        premises,
        ["reserve", "charge", "ship", "thank = step(act)"],
        gates=["undo-charge"],
        failing=["ship"],
        until="undo-charge",
    )
    define(premises, ["reserve", "charge", "ship", "other = step(act, compensate=undo)"])
    assert go_on(premises, RESULT)[0] == "Compensated"
    assert premises.outside.names("s1")[-2:] == ["undo-charge", "undo-reserve"]
