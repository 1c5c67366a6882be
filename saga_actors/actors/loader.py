"""Imports the sagas that a worker is asked to serve, on a thread of its own: an import may take long, or hang."""

from __future__ import annotations

import importlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from saga_actors.actors.protocol import LoadFailure, Source
from saga_actors.actors.threads import log
from saga_actors.definition import Definition, Saga, loading_for_node, saga_named
from saga_actors.errors import NestedCoordinatorError
from saga_actors.plan import SagaPlan

NESTED, IMPORT = "nested", "import"
_GUARD = "if __name__ == '__main__':"

Loads = tuple[dict[str, SagaPlan], dict[str, LoadFailure]]
"""The plans of the sagas that could be loaded, and why the others could not be, by the sagas' names."""


class Loader:
    """Loads sagas, one request after the other; `wake` is called, on its thread, when one is done.

    It imports what it is asked to import and nothing else, and keeps what it has loaded.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._asked: SimpleQueue[tuple[Source, ...]] = SimpleQueue()
        self._done: deque[Loads] = deque()
        self._thread: threading.Thread | None = None
        self._sagas: dict[str, type[Saga[Any]]] = {}
        self._plans: dict[str, SagaPlan] = {}
        self._sources: dict[str, Source] = {}

    def ask(self, sources: Iterable[Source]) -> None:
        """Load these; what comes of it is in `done` some time after."""
        self._asked.put(tuple(sources))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="saga_actors-loader", daemon=True)
            self._thread.start()

    def done(self) -> list[Loads]:
        """What became of requests, each told once."""
        return [self._done.popleft() for _ in range(len(self._done))]

    @property
    def plans(self) -> dict[str, SagaPlan]:
        """All that is loaded, by the sagas' names."""
        return dict(self._plans)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where all that is loaded came from."""
        return tuple(self._sources.values())

    def find(self, saga: str) -> Definition | None:
        """The definition of a loaded saga."""
        found = self._sagas.get(saga)
        return None if found is None else found.definition

    def load(self, sources: Iterable[Source]) -> Loads:
        """Load these, here and now; never raises, whatever the imported modules do."""
        plans: dict[str, SagaPlan] = {}
        failures: dict[str, LoadFailure] = {}
        for source in sources:
            try:
                plans[source.saga] = self._load(source)
            except BaseException as error:  # importing runs any code, and a script may end in sys.exit()
                failures[source.saga] = self._failed(source, error)
        return plans, failures

    def _run(self) -> None:
        while True:
            self._done.append(self.load(self._asked.get()))
            self._wake()

    def _load(self, source: Source) -> SagaPlan:
        if source.saga not in self._plans:
            saga = _imported(source)
            plan = saga.definition.plan
            self._sagas = {**self._sagas, source.saga: saga}  # others read these on their threads
            self._sources = {**self._sources, source.saga: source}
            self._plans = {**self._plans, source.saga: plan}
        return self._plans[source.saga]

    def _failed(self, source: Source, error: BaseException) -> LoadFailure:
        failure = _failure(source, error)
        shown = None if isinstance(error, _NoSuchSagaError) else error
        log().warning("the saga %s cannot be served: %s", source.saga, failure.message, exc_info=shown)
        return failure


class _NoSuchSagaError(Exception):
    """The module was imported, and does not have the saga; the text says which it has."""


def _imported(source: Source) -> type[Saga[Any]]:
    if source.path is not None and source.path not in sys.path:
        sys.path.append(source.path)
    if source.module not in sys.modules:
        importlib.invalidate_caches()  # the file may be younger than the last look into its folder
    with loading_for_node():
        module = importlib.import_module(source.module)
    saga = saga_named(source.saga)
    if saga is None:
        raise _NoSuchSagaError(_missing(source, module))
    return saga


def _missing(source: Source, module: ModuleType) -> str:
    here = [value.definition.name for value in vars(module).values() if _is_saga_of(value, module)]
    file = getattr(module, "__file__", None)
    return (
        f"the module {source.module} ({file}) has no saga named {source.saga}; it has {', '.join(here) or 'none'}. "
        "If that is another file than yours, give yours another name; if you renamed the saga, restart the node"
    )


def _is_saga_of(value: object, module: ModuleType) -> bool:
    if not (isinstance(value, type) and issubclass(value, Saga) and value.__module__ == module.__name__):
        return False
    return "__saga_definition__" in vars(value)


def _failure(source: Source, error: BaseException) -> LoadFailure:
    nested = _nested(error)
    if nested is not None:
        text = f"importing the module {source.module} makes a Coordinator; put what runs sagas under `{_GUARD}`"
        return LoadFailure(NESTED, text)
    if isinstance(error, _NoSuchSagaError):
        return LoadFailure(IMPORT, str(error))
    return LoadFailure(
        IMPORT, f"the module {source.module} cannot be imported: {_shown(error)}; {_advice(source, error)}"
    )


def _nested(error: BaseException) -> BaseException | None:
    """The NestedCoordinatorError behind this error, if there is one."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, NestedCoordinatorError):
            return each
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__]
        waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else []
    return None


def _shown(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # an exception's own __str__ is user code as well
        text = ""
    name = type(error).__qualname__
    return f"{name}: {text[:1_000]}" if text else name


def _advice(source: Source, error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the interpreter; put what it runs under `{_GUARD}`"
    if isinstance(error, ModuleNotFoundError) and error.name:
        whole = error.name == source.module or source.module.startswith(f"{error.name}.")
        where = "put its folder on the sys.path of whoever starts the node" if whole else "install it for the node"
        return f"{where}, and restart the node"
    return "mend it (node.log has the traceback), and try again"
