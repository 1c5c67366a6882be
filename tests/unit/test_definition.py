"""Definitions: what a saga's class comes to, and what is refused while it is made."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from saga_actors.definition import (
    Saga,
    SagaMeta,
    Step,
    registered_sagas,
    step,
)
from saga_actors.errors import DefinitionError
from saga_actors.plan import OnFailure, OnUnknown
from saga_actors.retry import Retry

Ctx = dict[str, Any]


@attrs.frozen
class Order:
    total: int


def nothing(order: Any) -> None:
    """A step, or an undo, that does nothing."""


# What a class comes to.


def test_a_class_has_its_steps_in_the_order_of_its_body() -> None:
    """A definition lists its steps as written, each with its name and its options."""

    class PlaceOrder(Saga):
        reserve = step(nothing, compensate=nothing)
        charge = step(nothing, timeout=10, retries=3, unknown_on=TimeoutError)
        notify = step(nothing, on_failure="ignore", on_unknown=OnUnknown.HOLD, reruns=0)

    reserve, charge, notify = PlaceOrder.definition.steps
    assert [each.name for each in PlaceOrder.definition.steps] == ["reserve", "charge", "notify"]
    assert (reserve.compensate, reserve.timeout, reserve.retries, reserve.reruns) == (nothing, 30.0, Retry(0), 3)
    assert (charge.timeout, charge.compensate_timeout, charge.retries) == (10.0, 10.0, Retry(3))
    assert (charge.unknown_on, charge.compensate_retries) == ((TimeoutError,), Retry(3))
    assert (notify.on_failure, notify.on_unknown, notify.reruns) == (OnFailure.IGNORE, OnUnknown.HOLD, 0)
    assert PlaceOrder.charge == charge
    assert PlaceOrder.definition.step_named("charge") is charge


def test_a_plan_is_the_definition_without_its_code() -> None:
    """P14: what is pinned has names, undos, timeouts, retries and async-ness, and no callable."""

    async def undo(order: Ctx) -> None: ...

    class PlaceOrder(Saga, name="test-plan"):
        charge = step(nothing, compensate=undo, timeout=timedelta(hours=2), retries=Retry(2, jitter=0))

    (charge,) = PlaceOrder.definition.plan.steps
    assert PlaceOrder.definition.plan.saga == "test-plan"
    assert PlaceOrder.definition.plan.context == "dict"
    assert (charge.name, charge.compensable, charge.timeout, charge.compensate_timeout) == ("charge", True, 7200, 7200)
    assert (charge.retries.times, charge.retries.jitter, charge.compensate_retries.times) == (2, 0.0, 3)
    assert (charge.is_async, charge.compensate_is_async) == (False, True)


def test_an_unknown_step_is_asked_for_in_vain() -> None:
    """Asking a definition for a step that it has not says which it has."""

    class PlaceOrder(Saga):
        charge = step(nothing)

    with pytest.raises(DefinitionError, match=r"has no step 'ship'; it has charge"):
        PlaceOrder.definition.step_named("ship")


def test_inherited_steps_come_first_and_an_override_keeps_its_place() -> None:
    """Steps of the base come first; overriding one changes what it does and not when."""

    class Base(Saga, abstract=True):
        reserve = step(nothing)
        charge = step(nothing)

    class PlaceOrder(Base):
        ship = step(nothing)
        reserve = step(nothing, timeout=5)

    assert [each.name for each in PlaceOrder.definition.steps] == ["reserve", "charge", "ship"]
    assert PlaceOrder.definition.steps[0].timeout == 5


def test_several_bases_are_read_from_left_to_right() -> None:
    """With several bases the steps stand as the bases do, a shared base first; the value is what Python resolves."""

    class Root(Saga, abstract=True):
        first = step(nothing)

    class Left(Root, abstract=True):
        left = step(nothing)

    class Right(Root, abstract=True):
        right = step(nothing)
        first = step(nothing, timeout=5)

    class Plain:
        audit = step(nothing)

    class Both(Left, Right, Plain):
        last = step(nothing)

    assert [each.name for each in Both.definition.steps] == ["first", "left", "right", "audit", "last"]
    assert Both.definition.steps[0].timeout == 5


def test_a_step_may_be_private_or_bound_to_two_names() -> None:
    """A private name is a name, and one step value under two names is two steps."""

    class PlaceOrder(Saga):
        _charge = step(nothing)
        again = _charge

    assert [each.name for each in PlaceOrder.definition.steps] == ["_charge", "again"]


def test_step_works_as_a_decorator_in_the_body() -> None:
    """A function in the body under `@step` is the step, and gets the context as its one argument."""

    class PlaceOrder(Saga):
        @step
        def charge(order: Ctx) -> Ctx:
            return {"seen": order["total"]}

    assert PlaceOrder.definition.step_named("charge").execute({"total": 3}) == {"seen": 3}


def test_a_name_is_given_or_made_of_module_and_class() -> None:
    """`name=` is the registered name; without it, it is `module:Qualname`, also below a class with a given one."""

    class Named(Saga, name="place-order"):
        charge = step(nothing)

    class Unnamed(Named):
        pass

    assert Named.definition.name == "place-order"
    assert Unnamed.definition.name == f"{__name__}:{Unnamed.__qualname__}"


def test_an_abstract_saga_has_no_definition() -> None:
    """An abstract class is a base: it may be empty, is not registered, and says so when its definition is asked for."""

    class Base(Saga, abstract=True):
        pass

    with pytest.raises(DefinitionError, match="Base is abstract; use a subclass"):
        _ = Base.definition
    assert Base not in registered_sagas()


def test_an_abstract_subclass_does_not_inherit_a_definition() -> None:
    """A definition belongs to one class and is never that of its base."""

    class Concrete(Saga):
        charge = step(nothing)

    class Base(Concrete, abstract=True):
        pass

    with pytest.raises(DefinitionError, match="abstract"):
        _ = Base.definition


def test_other_class_keywords_reach_init_subclass() -> None:
    """A mixin's own class keywords pass through."""
    seen: list[str] = []

    class Owned:
        def __init_subclass__(cls, owner: str = "", **others: Any) -> None:
            super().__init_subclass__(**others)
            seen.append(owner)

    class PlaceOrder(Owned, Saga, owner="shop"):
        charge = step(nothing)

    assert seen == ["shop"]
    assert PlaceOrder.definition.name


def test_steps_are_values() -> None:
    """A step is frozen, and two that say the same are equal."""
    assert step(nothing, timeout=5) == step(nothing, timeout=timedelta(seconds=5))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        step(nothing).timeout = 3  # type: ignore[misc]
    assert isinstance(step(nothing), Step)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compensate": "refund"}, r"step\(compensate=…\) is 'refund'; expected a function"),
        ({"timeout": 0}, r"step\(timeout=…\) is 0; expected more than zero"),
        ({"timeout": -1}, r"step\(timeout=…\) is -1"),
        ({"timeout": 30_000}, r"seconds, not milliseconds; write timedelta\(hours=…\) if you mean it"),
        ({"timeout": None}, r"step\(timeout=…\) is None"),
        ({"timeout": "30"}, r"step\(timeout=…\) is '30'"),
        ({"compensate_timeout": timedelta(0)}, r"step\(compensate_timeout=…\)"),
        ({"compensate_timeout": 3601}, r"step\(compensate_timeout=…\) is 3601: seconds, not milliseconds"),
        ({"retries": -1}, r"step\(retries=…\) is -1"),
        ({"retries": 1.5}, r"step\(retries=…\) is 1.5"),
        ({"retries": True}, r"step\(retries=…\) is True"),
        ({"retries": None}, r"step\(retries=…\) is None"),
        ({"compensate_retries": "3"}, r"step\(compensate_retries=…\) is '3'"),
        ({"reruns": -1}, r"step\(reruns=…\) is -1"),
        ({"reruns": Retry(1)}, r"step\(reruns=…\) is Retry"),
        ({"on_failure": "retry"}, r"step\(on_failure=…\) is 'retry'; expected 'rollback' or 'ignore'"),
        ({"on_failure": None}, r"step\(on_failure=…\) is None"),
        ({"on_failure": []}, r"step\(on_failure=…\) is \[\]"),
        ({"on_unknown": "ignore"}, r"expected 'compensate' or 'hold' or 'assume_failed'"),
        ({"unknown_on": TimeoutError()}, r"step\(unknown_on=…\) has TimeoutError\(\)"),
        ({"unknown_on": (TimeoutError, "x")}, r"step\(unknown_on=…\) has 'x'"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    """Every wrong option is refused with its name, what was given and what was expected."""
    with pytest.raises(DefinitionError, match=message):
        step(nothing, **options)


@pytest.mark.parametrize("code", [None, "charge", 3, {"a": 1}, step(nothing), classmethod(nothing)])
def test_a_step_that_is_not_callable_is_refused(code: Any) -> None:
    """A step is code, and not its name, its result or another step."""
    with pytest.raises(DefinitionError, match=r"step\(execute=…\) is .*; expected a function of the context"):
        step(code)


# What a class is refused for.


def test_no_steps_are_refused() -> None:
    """A saga without steps is a mistake, unless it says that it is abstract."""
    with pytest.raises(DefinitionError, match=r"Empty has no steps; .*abstract=True"):

        class Empty(Saga):
            charge = nothing


@pytest.mark.parametrize(("first", "second"), [("step", "step"), ("step", "other"), ("other", "step")])
def test_a_name_twice_in_a_body_is_refused(first: str, second: str) -> None:
    """A step is neither bound over nor bound over something else; Python alone would forget the first silently."""
    values: dict[str, Any] = {"step": step(nothing), "other": nothing}
    with pytest.raises(DefinitionError, match=r"Twice\.charge is bound twice"):

        class Twice(Saga):
            charge = values[first]
            charge = values[second]


def test_other_names_may_be_bound_twice() -> None:
    """Only steps are guarded: everything else in a body is Python as ever, and so is a name that was deleted."""

    class PlaceOrder(Saga):
        limit = 1
        limit = 2
        charge = step(nothing)
        del charge
        charge = step(nothing, timeout=5)

    assert PlaceOrder.limit == 2
    assert PlaceOrder.definition.steps[0].timeout == 5


@pytest.mark.parametrize("name", ["definition", "__init__", "__class_getitem__", "__module__", "mro"])
def test_a_name_that_saga_needs_is_refused(name: str) -> None:
    """A step cannot have a name by which Saga itself works."""
    with pytest.raises(DefinitionError, match=rf"Bad\.{name} is a step, but Saga itself needs that name"):
        SagaMeta("Bad", (Saga,), {"__module__": __name__, "__qualname__": "Bad", name: step(nothing)})


def test_an_inherited_step_cannot_be_removed() -> None:
    """Hiding a step of a base with something else is refused, for nobody could say what it means."""

    class Base(Saga, abstract=True):
        charge = step(nothing)

    with pytest.raises(DefinitionError, match="hides an inherited step"):

        class Bad(Base):
            charge = None  # type: ignore[assignment]
            ship = step(nothing)


def test_a_class_is_not_changed_once_made() -> None:
    """Setting or deleting a step later would leave the definition behind, and is refused."""

    class PlaceOrder(Saga):
        owner = ""
        charge = step(nothing)

    with pytest.raises(DefinitionError, match="override the step in a subclass"):
        PlaceOrder.charge = step(nothing)
    with pytest.raises(DefinitionError, match="override the step in a subclass"):
        PlaceOrder.ship = step(nothing)
    with pytest.raises(DefinitionError, match="override the step in a subclass"):
        del PlaceOrder.charge
    PlaceOrder.owner = "shop"
    assert PlaceOrder.owner == "shop"


def test_a_saga_is_not_instantiated() -> None:
    """Calling a saga class, or Saga itself, is refused with what to do."""

    class PlaceOrder(Saga[Order]):
        charge = step(nothing)

    for called in (PlaceOrder, Saga, Saga[Order]):
        with pytest.raises(DefinitionError, match="a saga is not instantiated; give the class itself"):
            called()


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\nb", "a\x00b", "\ud800", 3, b"x"])
def test_a_name_that_cannot_be_one_is_refused(name: Any) -> None:
    """A registered name is 1 to 200 printable characters."""
    with pytest.raises(DefinitionError, match="expected 1 to 200 printable characters"):

        class Bad(Saga, name=name):
            charge = step(nothing)


def test_an_abstract_saga_takes_no_name() -> None:
    """A name would mean nothing on a class that is never run."""
    with pytest.raises(DefinitionError, match="an abstract saga is never run, and has no name"):

        class Bad(Saga, name="base", abstract=True):
            pass
