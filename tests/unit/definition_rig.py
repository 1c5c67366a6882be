"""Definitions for the tests of `check` and `graph`."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan

SHOP = """
from collections.abc import Callable
import attrs
from saga_actors import Saga, step

def go(context): ...

class Order(Saga, max_running=5):
    reserve = step(go, compensate=go)
    charge = step(go, compensate=go, timeout=10, retries=3)
    log = step(go)
    ship = step(go, compensate=go, on_unknown="hold")
    notify = step(go, on_failure="ignore")

class Ping(Saga):
    ask = step(go, reruns=0, retries=1)

@attrs.define
class Letter:
    text: str
    sent: Callable[[], None]

class Post(Saga[Letter]):
    send = step(go)
"""
"""A module of an application."""

RESERVE, CHARGE = StepPlan("reserve", compensable=True), StepPlan("charge", compensable=True)
LOG, NOTIFY = StepPlan("log"), StepPlan("notify", on_failure=OnFailure.IGNORE)


def plan(*steps: StepPlan) -> SagaPlan:
    return SagaPlan("order", steps)


def _numbered(steps: list[StepPlan]) -> SagaPlan:
    return plan(*(attrs.evolve(step, name=f"s{number}") for number, step in enumerate(steps, 1)))


PLANS = st.lists(
    st.builds(
        StepPlan,
        st.just(""),
        compensable=st.booleans(),
        on_failure=st.sampled_from(OnFailure),
        on_unknown=st.sampled_from(OnUnknown),
    ),
    min_size=1,
    max_size=6,
).map(_numbered)
"""Sagas of up to six steps, s1, s2 and so on, with whatever can be declared."""
