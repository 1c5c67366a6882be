"""Where the other processes find a saga's class, and whether this process is one that looks for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import attrs

from saga_actors.errors import DefinitionError

_MAIN = ("__main__", "__mp_main__")  # the second is what multiprocessing calls a script in its children
_MOVE = "move the class into a module of its own, and import it from there"


@attrs.frozen
class Source:
    """Where a saga's class is found: `qualname` in `module`; a script needs its folder, `path`, on `sys.path`."""

    module: str
    qualname: str
    path: str | None = None


def home_of(cls: type) -> str:
    """The module name under which other processes load `cls`: that of a script is its file's stem, not `__main__`."""
    if cls.__module__ not in _MAIN:
        return cls.__module__
    main = sys.modules.get(cls.__module__)
    file = _file_of(main)
    return _run_as(main) or (cls.__module__ if file is None else os.path.splitext(os.path.basename(file))[0])


def source_of(cls: type) -> Source:
    """Where `cls` is found by other processes; raises DefinitionError if they cannot find it, with what to do."""
    if "<locals>" in cls.__qualname__:
        raise DefinitionError(f"{cls.__qualname__} is made in a function, whence no other process imports it; {_MOVE}")
    if cls.__module__ not in _MAIN:
        return Source(cls.__module__, cls.__qualname__)
    main = sys.modules.get(cls.__module__)
    name = _run_as(main)
    return _script(cls, _file_of(main)) if name is None else Source(name, cls.__qualname__)


def _script(cls: type, file: str | None) -> Source:
    if file is None:
        raise DefinitionError(
            f"{cls.__qualname__} was typed into an interpreter or read from stdin, whence no other process imports it; "
            f"{_MOVE}"
        )
    folder, name = os.path.split(os.path.abspath(file))
    stem, extension = os.path.splitext(name)
    if extension not in (".py", ".pyc") or "." in stem or stem in _MAIN or stem in sys.stdlib_module_names:
        raise DefinitionError(
            f"{cls.__qualname__} is in the script {name}, which no other process can import as {stem!r}; call the file "
            "something.py, with no other dot and not after a module of the standard library"
        )
    return Source(stem, cls.__qualname__, folder)


def _run_as(main: ModuleType | None) -> str | None:
    """The name after `python -m`."""
    name = getattr(getattr(main, "__spec__", None), "name", None)
    return name if isinstance(name, str) and name not in _MAIN else None


def _file_of(main: ModuleType | None) -> str | None:
    file = getattr(main, "__file__", None)
    return file if isinstance(file, str) and not os.path.basename(file).startswith("<") else None


_loading = 0


@contextmanager
def loading_for_node() -> Iterator[None]:
    """Say that this process imports users' modules for a node while the block runs; no Coordinator is made in it."""
    global _loading
    _loading += 1
    try:
        yield
    finally:
        _loading -= 1


def is_loading_for_node() -> bool:
    """Whether this process is importing users' modules for a node."""
    return _loading > 0
