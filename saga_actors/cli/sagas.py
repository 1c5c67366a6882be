"""SAGA and CONTEXT on the command line: a class of the application, and what a saga of it is given."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from saga_actors.definition import Saga, registered_sagas, saga_named
from saga_actors.errors import ContextError
from saga_actors.journal.codec import decode_context


def imported(app: Sequence[str]) -> list[ModuleType]:
    """These modules of the application; a UsageError says which cannot be imported, and why."""
    return [_imported(name) for name in app]


def found(name: str, app: Sequence[str]) -> type[Saga[Any]]:
    """The saga of this registered name, or the class at `module:Class`."""
    imported(app)
    if (saga := saga_named(name)) is not None:
        return saga
    module, separator, attribute = name.partition(":")
    if not separator:
        raise click.UsageError(f"there is no saga {name!r}; {_those_there_are()}")
    at: Any = _imported(module)
    for part in attribute.split("."):
        at = getattr(at, part, None)
    if not (isinstance(at, type) and issubclass(at, Saga) and "__saga_definition__" in vars(at)):
        raise click.UsageError(f"{module} has no saga {attribute!r}; {_those_there_are()}")
    return at


def context_of(saga: type[Saga[Any]], text: str) -> Any:
    """The context that this is: JSON, or @ and a file with it, or - for standard input."""
    given = _read(text)
    try:
        json.loads(given)
    except ValueError as error:
        where = "standard input" if text == "-" else text[:60]
        raise click.UsageError(
            f'the context {where!r} is no JSON ({error}); expected JSON such as \'{{"order_id": "ord_123"}}\', '
            "@file.json, or - for standard input"
        ) from None
    try:
        return decode_context(given.encode(), saga.definition.context_type)
    except ContextError as error:
        why = str(error).removeprefix("stored ")
        raise click.UsageError(f"the context does not fit {saga.definition.name}: {why}") from None


def _read(text: str) -> str:
    try:
        if text == "-":
            return sys.stdin.read()
        return Path(text[1:]).read_text() if text.startswith("@") else text
    except (OSError, UnicodeError) as error:
        raise click.UsageError(f"the context {text!r} cannot be read: {error}") from None


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module of the application may raise anything
        folder = sys.path[0]
        why = f"{type(error).__name__}: {error}"
        raise click.UsageError(
            f"the module {name!r} cannot be imported ({why}); it is looked for in {folder} first, which --app-dir sets"
        ) from error


def _those_there_are() -> str:
    names = [saga.definition.name for saga in registered_sagas()]
    if names:
        return f"there are {', '.join(names)}"
    return "no module with sagas was imported: name one with -A, or the saga as module:Class"
