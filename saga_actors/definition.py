"""What a saga is made of: `step(...)` and `class PlaceOrder(Saga)`; everything that is wrong is refused right here."""

from __future__ import annotations

import enum
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, Literal, NoReturn, TypeVar, cast

import attrs

from saga_actors.context_type import checked_context_type, context_types, describe, is_open
from saga_actors.errors import DefinitionError
from saga_actors.outcomes import C
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan
from saga_actors.registry import all_classes, class_named, register
from saga_actors.retry import Retry, Seconds, exception_classes, seconds, whole_number
from saga_actors.signature import check_signature, is_async
from saga_actors.source import Source, home_of, is_loading_for_node, loading_for_node, source_of

__all__ = [
    "Definition",
    "Saga",
    "SagaMeta",
    "Source",
    "Step",
    "importable",
    "is_loading_for_node",
    "loading_for_node",
    "registered_sagas",
    "saga_named",
    "step",
]

NAME_LENGTH = 200
"""The most characters of a saga's or a step's name."""

_E = TypeVar("_E", bound=enum.StrEnum)


@attrs.frozen
class Step(Generic[C]):
    """One step with its code; made by `step(...)`, and named by the class it is put in. Timeouts are in seconds."""

    execute: Callable[[C], Mapping[str, Any] | C | Awaitable[Mapping[str, Any] | C | None] | None]
    compensate: Callable[[C], Awaitable[None] | None] | None
    timeout: float
    retries: Retry
    reruns: int
    on_failure: OnFailure
    on_unknown: OnUnknown
    unknown_on: tuple[type[BaseException], ...]
    compensate_timeout: float
    compensate_retries: Retry
    name: str = ""

    @property
    def plan(self) -> StepPlan:
        """This step without its code: what is pinned in the journal."""
        return StepPlan(
            name=self.name,
            compensable=self.compensate is not None,
            timeout=self.timeout,
            retries=self.retries.backoff,
            reruns=self.reruns,
            on_failure=self.on_failure,
            on_unknown=self.on_unknown,
            compensate_timeout=self.compensate_timeout,
            compensate_retries=self.compensate_retries.backoff,
            is_async=is_async(self.execute),
            compensate_is_async=self.compensate is not None and is_async(self.compensate),
        )


def step(
    execute: Callable[[C], Mapping[str, Any] | C | Awaitable[Mapping[str, Any] | C | None] | None],
    *,
    compensate: Callable[[C], Awaitable[None] | None] | None = None,
    timeout: Seconds = 30.0,
    retries: int | Retry = 0,
    reruns: int = 3,
    on_failure: Literal["rollback", "ignore"] | OnFailure = "rollback",
    on_unknown: Literal["compensate", "hold", "assume_failed"] | OnUnknown = "compensate",
    unknown_on: tuple[type[BaseException], ...] | type[BaseException] = (),
    compensate_timeout: Seconds | None = None,
    compensate_retries: int | Retry = 3,
) -> Step[C]:
    """One step of a saga: `execute` does it, and `compensate` undoes it where there is something to undo.

    `execute` gets the context and returns None (unchanged), a mapping (merged into a dict context) or a whole new
    context; it raises to fail, `Abort` to fail without a retry, and `OutcomeUnknown`, or one of `unknown_on`, when it
    may have happened. `compensate` gets the context as it was when the step completed, and returns None. Both may be
    `async def`, and both are called again with the same idempotency key.

    `timeout`, `compensate_timeout`: seconds or timedelta, per attempt; the second defaults to the first. `retries`,
    `compensate_retries`: how many, or a `Retry`, after a failure or a timeout. `reruns`: how often an attempt that a
    crash cut short may be run again; 0 is at most once. `on_failure="ignore"`: its failure does not matter, the saga
    goes on; otherwise a failing step rolls the saga back, whether it has an undo or not. `on_unknown`: what is done
    when nobody knows whether it happened: undo it, hold the saga for an operator, or take it for failed.
    """
    whole = _timeout(timeout, "timeout")
    return Step(
        execute=_code(execute, "execute"),
        compensate=None if compensate is None else _code(compensate, "compensate"),
        timeout=whole,
        retries=Retry.of(retries, "step(retries=…)"),
        reruns=whole_number(reruns, "step(reruns=…)"),
        on_failure=_choice(OnFailure, on_failure, "on_failure"),
        on_unknown=_choice(OnUnknown, on_unknown, "on_unknown"),
        unknown_on=exception_classes(unknown_on, "step(unknown_on=…)"),
        compensate_timeout=whole if compensate_timeout is None else _timeout(compensate_timeout, "compensate_timeout"),
        compensate_retries=Retry.of(compensate_retries, "step(compensate_retries=…)"),
    )


def _timeout(value: float | timedelta, option: str) -> float:
    number = seconds(value, f"step({option}=…)", most=3_600)
    if number == 0:
        raise DefinitionError(f"step({option}=…) is {value!r}; expected more than zero seconds")
    return number


def _choice(choices: type[_E], value: str, option: str) -> _E:
    try:
        return choices(value)
    except ValueError:
        expected = " or ".join(repr(each.value) for each in choices)
        raise DefinitionError(f"step({option}=…) is {value!r}; expected {expected}") from None


def _code(value: Any, option: str) -> Any:
    if isinstance(value, staticmethod):  # what a function under @staticmethod is inside its class's body
        value = value.__func__
    if not callable(value):
        raise DefinitionError(f"step({option}=…) is {value!r}; expected a function of the context: step(charge)")
    return value


@attrs.frozen(slots=False)
class Definition:
    """What a saga's class comes to: its registered name, its context's type (`dict` or an attrs class), its steps.

    `max_running`: how many may be in flight at a time on one node; None: any number.
    """

    name: str
    context_type: Any
    steps: tuple[Step[Any], ...]
    max_running: int | None = None

    @cached_property
    def plan(self) -> SagaPlan:
        """This definition without its code: what is pinned in the journal (P14).

        Made when first asked for, so that context classes may refer to what stands below them in their module.
        """
        steps = tuple(each.plan for each in self.steps)
        return SagaPlan(self.name, steps, describe(self.context_type), self.max_running)

    def step_named(self, name: str) -> Step[Any]:
        """The step of this name; raises DefinitionError if there is none."""
        for each in self.steps:
            if each.name == name:
                return each
        raise DefinitionError(f"{self.name} has no step {name!r}; it has {', '.join(s.name for s in self.steps)}")


class _Body(dict[str, Any]):
    """The body of a saga's class while it runs; it sees a step's name bound for the second time."""

    def __init__(self, saga: str) -> None:
        super().__init__()
        self.saga = saga

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self and (isinstance(value, Step) or isinstance(self[name], Step)):
            raise DefinitionError(
                f"{self.saga}.{name} is bound twice in the class's body, and one of the two is a step; "
                "give each step a name of its own"
            )
        super().__setitem__(name, value)


_DEFINITION = "__saga_definition__"


def _named_steps(saga: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _named(saga, key, value) if isinstance(value, Step) else value for key, value in body.items()}


def _named(saga: str, name: str, value: Step[Any]) -> Step[Any]:
    if name in _RESERVED:
        raise DefinitionError(f"{saga}.{name} is a step, but Saga itself needs that name; give the step another one")
    return attrs.evolve(value, name=_checked_name(name, f"the name of the step {saga}.{name}"))


def _steps(cls: type) -> tuple[Step[Any], ...]:
    """The steps of `cls`: those of its bases from left to right, then its own; an override keeps the place."""
    return tuple(_current(cls, name) for name in _step_names(cls))


def _step_names(cls: type) -> dict[str, None]:
    names: dict[str, None] = {}
    for base in cls.__bases__:
        names |= _step_names(base)
    return names | {name: None for name, value in vars(cls).items() if isinstance(value, Step)}


def _current(cls: type, name: str) -> Step[Any]:
    value = next(vars(base)[name] for base in cls.__mro__ if name in vars(base))
    if not isinstance(value, Step):
        raise DefinitionError(
            f"{cls.__qualname__}.{name} is {value!r}, and hides an inherited step; a step can be overridden by a step, "
            "but not removed: give this another name"
        )
    return attrs.evolve(value, name=name)


def _context_type(cls: type, abstract: bool) -> Any:
    """The type of the context; None while a type variable is still open, which only an abstract saga may have."""
    found = context_types(cls, Saga, keep_open=abstract)
    if len(found) != 1:
        raise DefinitionError(
            f"{cls.__qualname__} inherits from sagas with different contexts, {' and '.join(map(repr, found))}; "
            "expected one: write the shared base as class …(Saga[C], abstract=True), and its subclass with …[Order]"
        )
    if abstract and is_open(found[0]):
        return None
    return checked_context_type(found[0], cls.__qualname__)


def _check_code(each: Step[Any], context_type: Any, saga: str) -> None:
    check_signature(each.execute, context_type, f"execute of {saga}.{each.name}", undo=False)
    if each.compensate is not None:
        check_signature(each.compensate, context_type, f"compensate of {saga}.{each.name}", undo=True)


def _at_least_one(steps: tuple[Step[Any], ...], saga: str) -> tuple[Step[Any], ...]:
    if not steps:
        raise DefinitionError(
            f"{saga} has no steps; write charge = step(charge_card) into its body, or, if it is only a base, "
            f"class {saga}(Saga, abstract=True)"
        )
    return steps


def _registered_name(cls: type, name: str | None) -> str:
    if name is None:
        return _checked_name(f"{home_of(cls)}:{cls.__qualname__}", f"the name of {cls.__qualname__}")
    return _checked_name(name, f"class {cls.__name__}(name=…)")


def _checked_name(name: object, what: str) -> str:
    if isinstance(name, str) and name.strip() and len(name) <= NAME_LENGTH and name.isprintable():
        return name
    raise DefinitionError(
        f"{what} is {name!r}; expected 1 to {NAME_LENGTH} printable characters: no line breaks or control characters"
    )


def _refuse_options(cls: type, **options: object) -> None:
    for option, value in options.items():
        if value is not None:
            raise DefinitionError(
                f"{cls.__qualname__} has {option}={value!r} and abstract=True; expected one of them: an abstract saga "
                f"is never run, and has no {option}"
            )


def _limit(cls: type, max_running: object) -> int | None:
    if max_running is None or (type(max_running) is int and max_running > 0):
        return max_running
    raise DefinitionError(
        f"class {cls.__name__}(max_running=…) is {max_running!r}; expected a whole number of sagas, 1 or more"
    )


def _refuse_change(cls: type, name: str, value: Any) -> None:
    if isinstance(value, Step) or name in _step_names(cls):
        raise DefinitionError(
            f"{cls.__qualname__}.{name} cannot be changed once the class is made, for its definition would not follow; "
            "override the step in a subclass"
        )


class SagaMeta(type):
    """Makes saga classes: reads the steps off the body, and refuses what cannot be a saga."""

    @classmethod
    def __prepare__(mcls, classname: str, bases: tuple[type, ...], /, **_: Any) -> _Body:
        return _Body(classname)

    def __new__(
        mcls,
        classname: str,
        bases: tuple[type, ...],
        body: dict[str, Any],
        /,
        *,
        name: str | None = None,
        abstract: bool = False,
        max_running: int | None = None,
        **others: Any,
    ) -> SagaMeta:
        cls = super().__new__(mcls, classname, bases, _named_steps(classname, body), **others)
        steps = _steps(cls)
        is_root = not any(isinstance(base, SagaMeta) for base in bases)
        context_type = None if is_root else _context_type(cls, abstract)
        for each in steps:
            _check_code(each, context_type, classname)
        if abstract:
            _refuse_options(cls, name=name, max_running=max_running)
        else:
            registered_name, limit = _registered_name(cls, name), _limit(cls, max_running)
            definition = Definition(registered_name, context_type, _at_least_one(steps, classname), limit)
            type.__setattr__(cls, _DEFINITION, definition)
            register(definition.name, cls)
        return cls

    @property
    def definition(cls) -> Definition:
        """What this class comes to; raises DefinitionError for an abstract one."""
        definition = vars(cls).get(_DEFINITION)
        if isinstance(definition, Definition):
            return definition
        raise DefinitionError(f"{cls.__qualname__} is abstract; use a subclass without abstract=True")

    def __call__(cls, *_: object, **__: object) -> NoReturn:
        raise DefinitionError(
            f"{cls.__qualname__} was called, but a saga is not instantiated; give the class itself and a context to a "
            f"coordinator: run({cls.__name__}, context)"
        )

    def __setattr__(cls, name: str, value: Any) -> None:
        _refuse_change(cls, name, value)
        super().__setattr__(name, value)

    def __delattr__(cls, name: str) -> None:
        _refuse_change(cls, name, None)
        super().__delattr__(name)


class Saga(Generic[C], metaclass=SagaMeta, abstract=True):
    """A saga: its steps in the order in which they stand in the class's body, after those of its bases.

    Steps get and give a dict, or with `class PlaceOrder(Saga[Order])` an attrs class. `name="place-order"` sets the
    name it has in journals, which is `module:Class` otherwise; `abstract=True` makes a base for other sagas. With
    `max_running=5` a node has at most five of them in flight, begun and not ended or held; the others wait for their
    first step. None of the three is inherited. A step that overrides an inherited one keeps its place. The class is
    never instantiated; `PlaceOrder.definition` is what it comes to.
    """


_RESERVED = frozenset(
    {*dir(Saga), *dir(SagaMeta), _DEFINITION, "definition", "__orig_bases__", "__classcell__", "__annotations__"}
)


def importable(saga: type[Saga[Any]]) -> Source:
    """Where other processes find this class; raises DefinitionError if they cannot, with what to do."""
    if not isinstance(saga, SagaMeta):
        raise DefinitionError(f"{saga!r} is not a saga; expected a class that inherits from Saga")
    name = saga.definition.name
    source = source_of(saga)
    if not _is_bound(saga, name):
        raise DefinitionError(
            f"the saga {name} is not found in its module as {saga.__qualname__}; bind the class to its own name there"
        )
    return source


def _is_bound(saga: type, name: str) -> bool:
    found: Any = sys.modules.get(saga.__module__)
    for each in saga.__qualname__.split("."):
        found = getattr(found, each, None)
    definition = vars(found).get(_DEFINITION) if isinstance(found, SagaMeta) else None
    return isinstance(definition, Definition) and definition.name == name


def registered_sagas() -> list[type[Saga[Any]]]:
    """The sagas that are alive in this process, but for abstract ones, in the order of their names."""
    return cast(list[type[Saga[Any]]], all_classes())


def saga_named(name: str) -> type[Saga[Any]] | None:
    """The saga of this registered name, if this process has it."""
    return cast("type[Saga[Any]] | None", class_named(name))
