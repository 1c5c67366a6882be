"""Bad input: each error says what was given, what was expected and what to do; nothing is journalled by any."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest
from flows import Trip
from premises import Premises
from shop import Growing, Nonsense, Order, Other, PlaceOrder, PlaceTyped

from saga_actors import (
    Compensated,
    Completed,
    ContextError,
    Coordinator,
    DefinitionError,
    DefinitionMismatchError,
    JournalError,
    JournalUrlError,
    NodeError,
    NotServedError,
    OverloadedError,
    Saga,
    SagaActorsError,
    SagaIdError,
    SchemaError,
    step,
)

pytestmark = pytest.mark.node

SOON = 2.0


@contextlib.contextmanager
def refused(kind: type[SagaActorsError], *parts: str) -> Iterator[None]:
    """Whatever happens in the block is refused with just this error, soon, and its message has all these parts."""
    began = time.monotonic()
    with pytest.raises(SagaActorsError) as error:
        yield
    assert time.monotonic() - began < SOON
    assert type(error.value) is kind
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


# What is refused before anything is begun.


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://localhost", ["unknown scheme 'redis'", "expected sqlite:///relative.db"]),
        ("sagas.db", ["'sagas.db' is no URL", "expected sqlite:///"]),
        ("sqlite:///", ["has no path", "expected"]),
        ("memory://", ["memory:// has no file", "use sqlite:///"]),
        (Path("sagas.db"), ["PosixPath('sagas.db')", "as text"]),
        (None, ["the journal is None", "expected"]),
    ],
    ids=str,
)
def test_a_url_of_no_journal(url: Any, parts: list[str]) -> None:
    """An unknown scheme, or no URL at all, is refused when the coordinator is made."""
    with refused(JournalUrlError, *parts):
        Coordinator(url)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"node": "start"}, ["node is 'start'", 'expected "auto" or "attach"']),
        ({"workers": 0}, ["workers is 0", "a whole number from 1 to"]),
        ({"workers": True}, ["workers is True", "a whole number"]),
        ({"threads": 2.0}, ["threads is 2.0", "a whole number"]),
        ({"max_unfinished": -1}, ["max_unfinished is -1", "1 or more"]),
        ({"context_limit": 10**9}, ["context_limit is 1000000000", "from 1 to 32,000,000"]),
        ({"telemetry": "shop:on_event"}, ["telemetry has 'shop:on_event'", "expected a list of functions"]),
        ({"telemetry": ["shop.on_event"]}, ["telemetry has 'shop.on_event'", '"module:function"']),
        ({"telemetry": 3}, ["telemetry has 3", '"module:function"']),
    ],
    ids=str,
)
def test_an_option_out_of_range(premises: Premises, options: dict[str, Any], parts: list[str]) -> None:
    """A wrong option is refused when the coordinator is made."""
    with refused(SagaActorsError, *parts):
        Coordinator(premises.url, **options)


@pytest.mark.parametrize(
    ("sagas", "parts"),
    [
        ("shop", ["sagas is 'shop'", "a list of"]),
        (PlaceOrder, ["expected several", "a list of sagas' classes"]),
        (["no.such.module"], ["'no.such.module', which cannot be imported here", "shop.orders"]),
        (["json"], ["the module 'json', which has none"]),
        ([int], ["<class 'int'> is not a saga", "inherits from Saga"]),
        ([3], ["3 is not a saga"]),
    ],
    ids=str,
)
def test_sagas_that_are_none(premises: Premises, sagas: Any, parts: list[str]) -> None:
    """What cannot be served is refused when the coordinator is made."""
    with refused(DefinitionError, *parts):
        Coordinator(premises.url, sagas=sagas)


def test_what_is_wrong_with_a_call_is_said_before_anything_is_started(premises: Premises) -> None:
    """Ids, contexts, deadlines, timeouts, classes: no node is started, and no file is made."""
    sagas = premises.coordinator()

    class Text(str):
        pass

    def start(context: Any = None, saga: Any = Other, **options: Any) -> None:
        sagas.start(saga, {} if context is None else context, **options)

    for saga_id, kind, parts in [
        ("", SagaIdError, ["saga_id has 0 characters", "expected 1 to 200"]),
        ("x" * 201, SagaIdError, ["201 characters", "expected 1 to 200"]),
        ("a\nb", SagaIdError, ["'a\\nb'", "no control characters or line breaks"]),
        ("a\x00", SagaIdError, ["'a\\x00'", "no control characters"]),
        (7, SagaIdError, ["saga_id is 7", "expected a str"]),
    ]:
        for call in (
            lambda saga_id=saga_id: start(saga_id=saga_id),
            lambda saga_id=saga_id: sagas.run(Other, {}, saga_id=saga_id),
            lambda saga_id=saga_id: sagas.result(saga_id),
            lambda saga_id=saga_id: sagas.status(saga_id),
            lambda saga_id=saga_id: sagas.history(saga_id),
        ):
            with refused(kind, *parts):
                call()
    for context, part in [
        ({"order": {"lines": [1, object()]}}, "order.lines[1]"),
        ({"when": float("nan")}, "when is a float that is not finite"),
        (["no", "dict"], "expected a dict"),
        (Order("x", ()), "expected a dict"),
        ({"text": "x" * 1_000_001}, "the limit is 1,000,000"),
    ]:
        with refused(ContextError, part):
            start(context)
    with refused(ContextError, "lines"):
        start(attrs.evolve(Order("x", ()), lines=7), PlaceTyped)
    with refused(ContextError, "Order"):
        start({"folder": "x"}, PlaceTyped)
    for deadline in (datetime(2030, 1, 1), timedelta.max, "soon", 5):
        with refused(SagaActorsError, f"deadline is {deadline!r}", "expected a datetime with a time zone"):
            start(deadline=deadline)
    for timeout in (-1, "5", float("nan")):
        with refused(DefinitionError, f"timeout is {timeout!r}", "expected"):
            start(timeout=timeout)
    for saga in (int, "Other", Other.definition):
        with refused(DefinitionError, "is not a saga", "expected a class that inherits from Saga"):
            start(saga=saga)
    with refused(DefinitionError, "is abstract"):
        start(saga=Saga)
    with refused(SagaActorsError, "state is 'done'", "expected one of running"):
        sagas.list(state="done")
    with refused(SagaActorsError, "limit is 0", "1 or more"):
        sagas.list(limit=0)
    with refused(SagaActorsError, "saga is 3", "a saga's class, or its name"):
        sagas.list(saga=3)  # type: ignore[arg-type]
    with refused(DefinitionError, "drain is -1"):
        sagas.close(drain=-1)
    with refused(JournalError, "there is no journal at", "start its node first"):
        sagas.status(Text("one"))
    assert sorted(premises.folder.iterdir()) == []


# A journal that is none.


def not_a_database(path: Path) -> None:
    path.write_text("Dear diary, " * 100)


def another_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE customers (name)")
        db.commit()


def newer_schema(path: Path) -> None:
    from saga_actors.journal import open_journal

    open_journal(f"sqlite:///{path}").close()
    db = apsw.Connection(str(path))
    db.execute("PRAGMA user_version = 99").fetchall()
    db.close()


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (not_a_database, ["is no SQLite file", "expected a journal, or a new path"]),
        (another_database, ["is a database of something else", "name another file"]),
        (newer_schema, ["has journal version 99, expected 2", "use the release that wrote it"]),
    ],
)
def test_a_file_that_is_not_a_journal(premises: Premises, make: Callable[[Path], None], parts: list[str]) -> None:
    """It is refused with SchemaError before a node is started, by every method, and nothing is written to it."""
    file = premises.folder / "sagas.db"
    make(file)
    before = file.read_bytes()
    with premises.coordinator() as sagas:
        for ask in (lambda: sagas.start(Other, {}), lambda: sagas.run(Other, {}), lambda: sagas.list(), sagas.locate):
            with refused(SchemaError, str(file), *parts):
                ask()
    with premises.coordinator(node="attach") as sagas, refused(SchemaError, str(file), *parts):
        sagas.start(Other, {})
    assert file.read_bytes() == before
    assert not premises.node.path.exists()


def test_a_folder_that_is_not_there(premises: Premises) -> None:
    """It is not made: a misspelt path shall not look like an empty journal."""
    missing = premises.folder / "missing"
    with Coordinator(f"sqlite:///{missing}/sagas.db") as sagas:
        with refused(JournalError, f"there is no folder {missing}", "make it first"):
            sagas.start(Other, {})
        with refused(JournalError, "there is no journal at"):
            sagas.status("one")
    (premises.folder / "file").touch()
    with Coordinator(f"sqlite:///{premises.folder}/file/sagas.db") as sagas, refused(JournalError, "is no folder"):
        sagas.start(Other, {})
    assert not missing.exists()


def test_a_folder_that_cannot_be_written(premises: Premises) -> None:
    """Who may not write there is told so, and what to do; no node is started."""
    script = premises.write(
        "locked_out.py",
        """
        import os, sys, tempfile
        from flows import Trip
        from saga_actors import Coordinator, JournalError
        from saga_actors.actors import client

        if __name__ == "__main__":
            with tempfile.TemporaryDirectory(dir="/tmp") as folder:
                os.chmod(folder, 0o777)
                os.mkdir(folder + "/locked", 0o555)
                os.environ["SAGA_ACTORS_KEY_FILE"] = folder + "/key"
                if root := os.geteuid() == 0:
                    os.setresuid(65534, 65534, 0)  # nobody: root may write anywhere
                with Coordinator(f"sqlite:///{folder}/locked/sagas.db") as sagas:
                    try:
                        sagas.start(Trip, {})
                    except JournalError as error:
                        print(type(error).__name__, str(error).replace(folder, "there"))
                print(os.listdir(folder + "/locked"))
                if root:
                    os.setresuid(0, 0, 0)
        """,
    )
    refusal = "JournalError the journal there/locked/sagas.db cannot be written: no right to write in there/locked; "
    assert premises.run(script) == (0, f"{refusal}allow it, or move it\n[]\n", "")


# What only the node can see.


def test_a_step_that_returns_what_cannot_be_stored_fails_its_saga(premises: Premises) -> None:
    """Nonsense, and a context that grows over the limit, fail the saga with the step's name; others are served on."""
    sagas = premises.coordinator(context_limit=20_000)
    nonsense = sagas.run(Nonsense, {})
    assert isinstance(nonsense, Compensated)
    assert nonsense.failure.step == "talk"
    assert "step 'talk' returned int; expected None" in nonsense.failure.reason
    assert isinstance(sagas.run(Growing, {"by": 19_000}), Completed)
    grown = sagas.run(Growing, {"by": 21_000})
    assert isinstance(grown, Compensated)
    assert grown.failure.step == "grow"
    assert "result of step 'grow' is 21," in grown.failure.reason
    assert "the limit is 20,000" in grown.failure.reason
    with refused(ContextError, "the limit is 20,000"):
        sagas.start(Other, {"text": "x" * 20_001})
    generous = premises.coordinator()
    with refused(ContextError, "the node takes 20000 at most"):
        generous.start(Other, {"text": "x" * 20_001})
    assert premises.sagas_in_journal() == 3


def test_a_saga_that_the_node_cannot_serve_or_serves_differently(premises: Premises) -> None:
    """What it cannot import, or has of another shape than the caller, is refused; so is more than it may have."""
    sagas = premises.coordinator(node="auto", max_unfinished=1)
    sagas.start(Trip, premises.context(gates=["flight"]), saga_id="first")
    with refused(OverloadedError, "1 sagas are unfinished, as many as may be", "try again later"):
        sagas.start(Trip, premises.context())
    premises.outside.open("first-flight")
    assert isinstance(sagas.result("first"), Completed)
    premises.write("changed.py", "from flows import act\nfrom saga_actors import Saga, step\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(premises.folder))
        import changed  # type: ignore[import-not-found]

        body = {"__module__": "changed", "one": step(changed.act)}
        changed.Changed = type(Saga)("Changed", (Saga,), body)
        with refused(NotServedError, "the node does not serve changed:Changed", "cannot be imported", "sys.path"):
            sagas.start(changed.Changed, {})
    sagas.close()
    premises.write(
        "changed.py",
        """
        from flows import act
        from saga_actors import Saga, step

        class Changed(Saga):
            one = step(act)
            two = step(act)
        """,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(premises.folder))
        with premises.coordinator() as again:
            again.locate()
            with refused(DefinitionMismatchError, "another definition of changed:Changed", "restart whichever"):
                again.start(changed.Changed, {})
    assert premises.sagas_in_journal() == 1


def test_a_node_that_cannot_be_started_says_why(premises: Premises) -> None:
    """What its log says is in the error, at once; nothing is left of it."""
    sagas = premises.coordinator(spec={"cwd": "/nowhere/at/all"})
    with refused(NodeError, "no node could be started in /nowhere/at/all"):
        sagas.start(Other, {})
    broken = premises.coordinator(spec={"root": "no.such.Root", "start_limit": 5.0})
    with pytest.raises(NodeError, match=r"(?s)the node ended with code 70.*no\.such\.Root"):
        broken.start(Other, {})
    premises.until(premises.is_deserted)
    assert premises.sagas_in_journal() == 0
