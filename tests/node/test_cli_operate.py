"""What an operator types at night: cancel, retry, settle, skip, resolve, accept and prune, on a real node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from premises import Premises
from terminal import piped, terminal

from saga_actors import Coordinator
from saga_actors.events import Cancelled, Resolved, Retried, Settled, Skipped

pytestmark = pytest.mark.node

HERE = str(Path(__file__).parent)
WHY = ("--reason", "spoke to the bank")


class Office:
    """A node, and the command line beside it."""

    def __init__(self, premises: Premises) -> None:
        self.premises = premises
        self.sagas: Coordinator = premises.coordinator(sagas=["desk"])
        self.environment = {"PYTHONPATH": HERE, "SAGA_ACTORS_JOURNAL": premises.url}

    def spoil(self, *names: str) -> None:
        for name in names:
            (self.premises.folder / name).touch()

    def mend(self, *names: str) -> None:
        for name in names:
            (self.premises.folder / name).unlink()

    def run(self, saga: str, saga_id: str, context: dict[str, object] | None = None) -> int:
        """The exit code of `run`."""
        given = json.dumps(self.premises.context() if context is None else context)
        return self.types("run", saga, given, "--id", saga_id).returncode

    def types(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return piped(*arguments, cwd=self.premises.folder, **self.environment)

    def fatal(self, saga_id: str) -> None:
        self.spoil("ship.broken", "undo-pay.broken")
        assert self.run("desk:Booking", saga_id) == 20
        self.mend("ship.broken", "undo-pay.broken")

    def held(self, saga_id: str) -> None:
        self.spoil("pay.unknown")
        assert self.run("desk:Booking", saga_id) == 30
        self.mend("pay.unknown")

    def last(self, saga_id: str, kind: type) -> object:
        """The last event of that kind."""
        return [event for event in self.sagas.history(saga_id) if isinstance(event, kind)][-1]


@pytest.fixture
def office(premises: Premises) -> Office:
    office = Office(premises)
    office.sagas.have_served()
    return office


def test_a_fatal_saga_is_retried_by_somebody_who_is_asked(office: Office) -> None:
    """The prompt shows how it stands; who and why are in its history; no is no."""
    office.fatal("s1")
    typed = ["retry", "s1", *WHY, "--by", "ann"]
    with terminal(*typed, cwd=office.premises.folder, **office.environment) as shown:
        shown.until(r"s1 desk:Booking: fatal")
        shown.until(r"\[y/N\]")
        shown.types("n\r")
        assert shown.ends() == 1
        shown.until("nothing was done")
    assert office.sagas.status("s1").state == "fatal"
    with terminal(*typed, cwd=office.premises.folder, **office.environment) as shown:
        shown.until(r"Try saga s1 again where it stands\? \[y/N\]")
        shown.types("y\r")
        assert shown.ends() == 0
    assert office.sagas.result("s1").saga_id == "s1"
    retried = office.last("s1", Retried)
    assert isinstance(retried, Retried)
    assert (retried.by, retried.reason) == ("ann", "spoke to the bank")


def test_without_a_terminal_nobody_is_asked_and_nothing_done(office: Office) -> None:
    """Exit 2, and what to add; with --dry-run it says what it would do; with --yes it does it."""
    office.fatal("s1")
    refused = office.types("skip", "s1", "pay", *WHY)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    tried = office.types("skip", "s1", "pay", *WHY, "--dry-run")
    assert tried.returncode == 0
    assert "would skip the undo of step pay of saga s1; nothing was done" in tried.stderr
    assert office.sagas.status("s1").state == "fatal"
    assert office.types("skip", "s1", "pay", *WHY, "--yes").returncode == 0
    office.sagas.result("s1")
    assert isinstance(office.last("s1", Skipped), Skipped)


def test_what_a_saga_does_not_allow_is_refused_before_anybody_is_asked(office: Office) -> None:
    """Exit 1, with what may be done; also for one that nobody knows, and for a reason that is missing."""
    office.held("s1")
    refused = office.types("skip", "s1", "pay", *WHY)
    assert refused.returncode == 1
    assert "saga 's1' is held and cannot be skipped; what may be done: retry, settle, cancel, resolve" in refused.stderr
    assert office.types("retry", "nobody", *WHY).returncode == 1
    missing = office.types("retry", "s1", "--yes")
    assert missing.returncode == 2
    assert "--reason" in missing.stderr


def test_an_unknown_step_is_settled_with_what_it_returned(office: Office) -> None:
    """The result is JSON; one that is none is refused, and so is leaving open whether it happened."""
    office.held("s1")
    assert office.types("settle", "s1", "pay", *WHY, "--yes").returncode == 2
    assert office.types("settle", "s1", "pay", "--happened", "--result", "{", *WHY, "--yes").returncode == 2
    settled = office.types("settle", "s1", "pay", "--happened", "--result", '{"pay": 7}', *WHY, "--yes")
    assert settled.returncode == 0, settled.stderr
    outcome = office.sagas.result("s1")
    assert outcome.context["pay"] == 7  # type: ignore[union-attr]
    assert isinstance(office.last("s1", Settled), Settled)


def test_a_step_that_did_not_happen_turns_the_saga_back(office: Office) -> None:
    """It has failed."""
    office.held("s1")
    assert office.types("settle", "s1", "pay", "--did-not-happen", *WHY, "--yes").returncode == 0
    assert office.types("status", "s1", "--exit-code").returncode in (0, 10)
    assert office.sagas.result("s1").failure.step == "pay"  # type: ignore[union-attr]


def test_a_saga_is_resolved_or_cancelled(office: Office) -> None:
    """By hand, in a state; or back, where it is held."""
    office.held("s1")
    office.held("s2")
    assert office.types("resolve", "s1", "held", *WHY, "--yes").returncode == 2
    assert office.types("resolve", "s1", "compensated", *WHY, "--yes").returncode == 0
    assert isinstance(office.last("s1", Resolved), Resolved)
    assert office.types("cancel", "s2", *WHY, "--yes").returncode == 0
    office.sagas.result("s2")
    assert isinstance(office.last("s2", Cancelled), Cancelled)
    again = office.types("cancel", "s2", *WHY, "--yes")
    assert again.returncode == 1
    assert "cannot be turned back" in again.stderr


def test_a_typed_saga_is_settled_with_its_module_at_hand(office: Office) -> None:
    """Its result is one of its class; without the module, the command says what to import."""
    office.spoil("print.unknown")
    assert office.run("desk:Print", "p1", {"folder": str(office.premises.folder), "seat": None}) == 30
    arguments = ["settle", "p1", "print", "--happened", *WHY, "--yes"]
    assert office.types(*arguments, "-A", "desk").returncode == 0
    assert office.sagas.result("p1").saga_id == "p1"


def test_old_sagas_are_pruned(office: Office) -> None:
    """How many is printed; how old must be said."""
    assert office.run("desk:Booking", "s1") == 0
    assert office.types("prune", "--yes").returncode == 2
    assert office.types("prune", "--older-than", "0s", "--dry-run").stdout == ""
    assert office.types("prune", "--older-than", "1h", "--yes").stdout == "0\n"
    assert office.types("prune", "--older-than", "0s", "--yes").stdout == "1\n"
    assert "pruned since" in office.types("status", "s1").stdout


def test_nothing_is_done_without_a_node(premises: Premises) -> None:
    """Exit 3, at once, with how to start one."""
    environment = {"PYTHONPATH": HERE, "SAGA_ACTORS_JOURNAL": premises.url}
    for arguments in (["retry", "s1"], ["cancel", "s1"], ["skip", "s1", "pay"]):
        refused = piped(*arguments, *WHY, "--yes", cwd=premises.folder, **environment)
        assert refused.returncode == 3, refused.stderr
        assert "saga-actors up" in refused.stderr


def test_a_changed_definition_is_accepted(premises: Premises) -> None:
    """All sagas that are held for it go on; with --dry-run they are only named."""
    moved = """
        from saga_actors import Saga, step
        from flows import act, undo

        class Tour(Saga, name="tour"):
            {0} = step(act, compensate=undo)
            {1} = step(act, compensate=undo)
            {2} = step(act)
    """
    premises.write("tours.py", moved.format("flight", "hotel", "mail"))
    environment = {"PYTHONPATH": HERE, "SAGA_ACTORS_JOURNAL": premises.url}
    context = json.dumps(premises.context(gates=["flight"]))
    with terminal("up", "-A", "tours", "--drain", "0s", cwd=premises.folder, **environment) as node:
        node.until("ready: node")
        piped("start", "tour", context, "-A", "tours", "--id", "t1", cwd=premises.folder, **environment)
        premises.until_called("flight")
        node.types("\x03")
        node.ends()
    premises.write("tours.py", moved.format("flight", "mail", "hotel"))
    premises.outside.open("t1-flight")
    with terminal("up", "-A", "tours", cwd=premises.folder, **environment) as node:
        node.until("ready: node")
        premises.until(lambda: "held" in piped("status", "t1", cwd=premises.folder, **environment).stdout)
        accept = ["accept", "tours:Tour", *WHY]
        tried = piped(*accept, "--dry-run", cwd=premises.folder, **environment)
        assert (tried.returncode, tried.stdout) == (0, "t1\n"), tried.stderr
        done = piped(*accept, "--yes", cwd=premises.folder, **environment)
        assert (done.returncode, done.stdout) == (0, "t1\n"), done.stderr
        premises.until(lambda: "completed" in piped("status", "t1", cwd=premises.folder, **environment).stdout)
        node.types("\x03")
        assert node.ends() == 0
