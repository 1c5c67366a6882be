"""The loader of a worker, with modules written for each test."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from saga_actors.actors.loader import IMPORT, NESTED, Loader
from saga_actors.actors.protocol import LoadFailure, Source
from saga_actors.source import is_loading_for_node

PATIENCE = 10.0

SAGA = """
    from saga_actors.definition import Saga, step

    class PlaceOrder(Saga):
        charge = step(lambda order: None)
"""

COORDINATOR = """
    from saga_actors.errors import NestedCoordinatorError
    from saga_actors.source import is_loading_for_node

    def coordinator():
        if is_loading_for_node():
            raise NestedCoordinatorError("a node imports this")
"""

SLOWLY = """
    test_loader.gate.wait(10)
    ran_on = threading.current_thread()
"""

gate = threading.Event()

Write = Callable[..., Source]
numbers = itertools.count(1)


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a module, and says where its saga `PlaceOrder` is found; forgets all of them afterwards."""
    path, modules = list(sys.path), set(sys.modules)

    def written(*parts: str, saga: str = "PlaceOrder") -> Source:
        name = f"shop_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text("\n".join(dedent(part) for part in parts))
        return Source(f"{name}:{saga}", name, str(tmp_path))

    yield written
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def rewrite(source: Source, text: str) -> None:
    assert source.path
    (Path(source.path) / f"{source.module}.py").write_text(dedent(text))


def load(*sources: Source) -> tuple[list[str], list[LoadFailure]]:
    plans, failures = Loader(lambda: None).load(sources)
    return list(plans), list(failures.values())


def failure(source: Source) -> LoadFailure:
    served, failures = load(source)
    assert not served
    (only,) = failures
    return only


def test_a_saga_is_found_by_its_name_and_told_by_its_plan(write: Write) -> None:
    """The folder of a script is put on `sys.path` once, and the plan has its steps."""
    source = write(SAGA)
    loader = Loader(lambda: None)
    plans, failures = loader.load([source, source])
    assert [step.name for step in plans[source.saga].steps] == ["charge"]
    assert not failures
    assert sys.path.count(source.path or "") == 1
    definition = loader.find(source.saga)
    assert definition
    assert definition.plan == plans[source.saga] == loader.plans[source.saga]
    assert loader.sources == (source,)


def test_a_saga_with_a_name_of_its_own_is_found_by_that(write: Write) -> None:
    """What counts is the registered name, not the class's."""
    source = write("from saga_actors.definition import Saga, step")
    named = Source(f"order-{source.module}", source.module, source.path)
    Path(source.path or "", f"{source.module}.py").write_text(
        dedent(SAGA.replace("Saga)", f"Saga, name={named.saga!r})"))
    )
    assert load(named) == ([named.saga], [])


def test_one_that_fails_does_not_keep_the_others_from_being_served(write: Write) -> None:
    """Each saga has an answer of its own (P11)."""
    good, bad = write(SAGA), write("raise ValueError('no')")
    served, failures = load(bad, good)
    assert served == [good.saga]
    assert [each.code for each in failures] == [IMPORT]


def test_a_module_is_imported_for_a_node_only_while_it_is_loaded(write: Write) -> None:
    """The import knows that a node does it, and nothing before or after does."""
    source = write("from saga_actors.source import is_loading_for_node", SAGA, "seen = is_loading_for_node()")
    load(source)
    assert sys.modules[source.module].seen
    assert not is_loading_for_node()


def test_a_script_without_a_guard_is_told_what_to_do(write: Write) -> None:
    """A script that runs sagas when it is imported ends in "nested"."""
    found = failure(source := write(COORDINATOR, SAGA, "coordinator()"))
    assert found.code == NESTED
    assert source.module in found.message
    assert "if __name__ == '__main__':" in found.message


@pytest.mark.parametrize(
    "ending",
    [
        "try:\n    coordinator()\nexcept Exception as error:\n    raise RuntimeError('setup failed') from error",
        "try:\n    coordinator()\nexcept Exception:\n    raise SystemExit(1)",
        "try:\n    coordinator()\nexcept Exception as error:\n    raise ExceptionGroup('setup', [error])",
    ],
)
def test_a_nested_coordinator_is_seen_behind_other_errors(write: Write, ending: str) -> None:
    """As a cause, a context, or one of a group."""
    assert failure(write(COORDINATOR, SAGA, ending)).code == NESTED


def test_a_script_that_exits_does_not_end_the_worker(write: Write) -> None:
    """SystemExit at import is a failure like others, and says what to do."""
    found = failure(write(SAGA, "import sys", "sys.exit(0)"))
    assert found.code == IMPORT
    assert "SystemExit: 0" in found.message
    assert "if __name__ == '__main__':" in found.message


def test_an_import_that_raises_is_told_with_its_error_and_not_its_traceback(write: Write) -> None:
    """The message has module, type and text, and is one line."""
    source = write("raise ValueError('no configuration')")
    found = failure(source)
    assert found.code == IMPORT
    assert f"the module {source.module} cannot be imported: ValueError: no configuration" in found.message
    assert "\n" not in found.message


def test_a_module_that_is_not_there_is_told_apart_from_one_it_needs(write: Write) -> None:
    """Where to put the module, or what to install."""
    missing = failure(Source("nowhere:PlaceOrder", "nowhere"))
    assert "put its folder on the sys.path" in missing.message
    needs = failure(write("import no_such_library"))
    assert "No module named 'no_such_library'" in needs.message
    assert "install it" in needs.message


def test_a_module_without_the_saga_says_which_it_has(write: Write) -> None:
    """A renamed saga, or another file of the same name, is recognised."""
    source = write(SAGA, "from saga_actors.definition import Saga as Base", saga="PlaceOrders")
    found = failure(source)
    assert found.code == IMPORT
    assert f"has no saga named {source.saga}; it has {source.module}:PlaceOrder." in found.message


def test_a_failed_import_is_tried_again_when_it_is_asked_for_again(write: Write) -> None:
    """What was mended is served without a restart."""
    source = write("raise ValueError('no')")
    loader = Loader(lambda: None)
    assert loader.load([source])[1]
    rewrite(source, SAGA)
    assert source.saga in loader.load([source])[0]
    assert loader.sources == (source,)


def test_imports_run_on_a_thread_of_their_own_one_at_a_time(write: Write) -> None:
    """An import that takes long holds up neither the asker nor, once it ends, the next one (P11)."""
    slow = write("import threading, test_loader", SAGA, SLOWLY)
    quick = write(SAGA)
    done = threading.Semaphore(0)
    loader = Loader(done.release)
    gate.clear()
    loader.ask([slow])
    loader.ask([quick])
    assert loader.done() == []
    gate.set()
    assert done.acquire(timeout=PATIENCE)
    assert done.acquire(timeout=PATIENCE)
    assert [list(plans) for plans, _ in loader.done()] == [[slow.saga], [quick.saga]]
    assert loader.done() == []
    assert sys.modules[slow.module].ran_on.name == "saga_actors-loader"
