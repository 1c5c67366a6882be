"""What a coordinator has its node serve: the sagas it was given, or all of this process, and those it was used for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from saga_actors.actors.protocol import Source
from saga_actors.definition import Saga, importable, registered_sagas
from saga_actors.errors import DefinitionError


class Offer:
    """Where the sagas are found that a node is asked to serve; `sagas` is None for all that this process has.

    Raises DefinitionError for what is no saga, and for one that no other process can import; but one that was not
    named, and is never used, is left out.
    """

    def __init__(self, sagas: Iterable[type[Saga[Any]] | str] | None) -> None:
        self._named = None if sagas is None else _named(sagas)
        self._used: dict[str, Source] = {}

    @property
    def is_named(self) -> bool:
        """Whether whoever made the coordinator said which sagas."""
        return self._named is not None

    def use(self, saga: Any) -> Source:
        """This saga is used, and is offered from now on."""
        source = source_of(saga)
        self._used[source.saga] = source
        return source

    def sources(self) -> tuple[Source, ...]:
        """All that is offered now."""
        named = _registered() if self._named is None else self._named
        return tuple({**named, **self._used}.values())  # a copy, made at one go: other threads use others


def source_of(saga: Any) -> Source:
    """Where other processes find this saga; DefinitionError if it is none, or they cannot."""
    found = importable(saga)
    return Source(saga.definition.name, found.module, found.path)


def _registered() -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for saga in registered_sagas():
        try:
            sources[saga.definition.name] = source_of(saga)
        except DefinitionError:
            continue  # it is refused when it is used
    return sources


def _named(sagas: Any) -> dict[str, Source]:
    if isinstance(sagas, str | type) or not isinstance(sagas, Iterable):
        raise DefinitionError(f"sagas is {sagas!r}; expected several: a list of sagas' classes, or of modules' names")
    classes: list[Any] = []
    for each in sagas:
        classes += _sagas_in(_imported(each)) if isinstance(each, str) else [each]
    sources = [source_of(saga) for saga in classes]
    return {source.saga: source for source in sources}


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, ValueError) as error:
        raise DefinitionError(
            f"sagas names the module {name!r}, which cannot be imported here ({error}); expected the full name of a "
            "module with sagas, such as shop.orders"
        ) from error


def _sagas_in(module: ModuleType) -> list[type[Saga[Any]]]:
    found = [saga for saga in registered_sagas() if vars(module).get(saga.__name__) is saga]
    if not found:
        raise DefinitionError(f"sagas names the module {module.__name__!r}, which has none; expected one with sagas")
    return found
