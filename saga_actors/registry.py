"""The sagas of this process by name: the one exception to "no process-global state".

A name in the journal has to mean one class, so a process cannot have two classes of one name, and only something that
sees all of the process can refuse the second. It holds its classes weakly, and nothing but names depends on it.
"""

from __future__ import annotations

import gc
import threading
from weakref import WeakValueDictionary

from saga_actors.errors import DefinitionError
from saga_actors.source import home_of

_lock = threading.RLock()  # a collection inside it may run anything
_named: WeakValueDictionary[str, type] = WeakValueDictionary()


def register(name: str, cls: type) -> None:
    """Give `name` to `cls`; a class that was defined at the same place before (a reload) gives way to it."""
    with _lock:
        if _taken(name, cls):
            gc.collect()  # a class is part of cycles: one that nobody has any more is gone only after this
        other = _taken(name, cls)
        if other:
            raise DefinitionError(
                f"{_place(cls)} has the name {name!r}, which {other} has already; give one of them another name: "
                f"class {cls.__name__}(Saga, name=…)"
            )
        _named[name] = cls


def _taken(name: str, cls: type) -> str | None:
    other = _named.get(name)
    return None if other is None or _place(other) == _place(cls) else _place(other)


def _place(cls: type) -> str:
    return f"{home_of(cls)}.{cls.__qualname__}"


def class_named(name: str) -> type | None:
    """The class of this name that is alive in this process."""
    with _lock:
        return _named.get(name)


def all_classes() -> list[type]:
    """Every class that is registered and alive in this process, in the order of the names."""
    with _lock:
        return [cls for _, cls in sorted(_named.items())]
