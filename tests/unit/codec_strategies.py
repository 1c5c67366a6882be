"""Contexts by chance, for hypothesis."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from codec_cases import BERLIN, Access, Address, Card, Cash, Colour, Item, Node, Odd, Order, Page, Size, Status
from hypothesis import strategies as st

zones = st.sampled_from(
    [None, UTC, BERLIN, ZoneInfo("Asia/Kathmandu"), timezone(timedelta(hours=-3)), timezone(timedelta(hours=1), "CET")]
)
moments = st.datetimes(timezones=zones, allow_imaginary=True)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
integers = st.one_of(st.integers(), st.integers(-(2**4_000), 2**4_000))
keys = st.one_of(st.text(max_size=5), st.sampled_from(["$", "$$", "$set", "$dict", "$datetime", "a b", "größe"]))
hashables = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        integers,
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.binary(),
        moments,
        st.dates(),
        st.times(timezones=st.sampled_from([None, UTC, BERLIN])),
        st.timedeltas(),
        st.uuids(),
        decimals,
    ),
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)
values = st.recursive(
    st.one_of(hashables, st.sets(hashables, max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=3),
    ),
    max_leaves=12,
)
contexts = st.dictionaries(keys, values, max_size=5)

cards = st.builds(Card, st.text(max_size=5))
items = st.builds(Item, st.text(max_size=5), integers, decimals, st.none() | st.sampled_from(Colour))
pages = st.builds(
    Page,
    st.lists(cards, max_size=2),
    st.none() | cards,
    st.dictionaries(keys, cards, max_size=2),
    st.none() | st.tuples(cards, integers),
)
orders = st.builds(
    Order,
    order_id=st.text(),
    customer=integers,
    total=st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    items=st.lists(items, max_size=3),
    payment=st.one_of(st.none(), cards, st.builds(Cash, decimals)),
    reference=st.one_of(
        st.none(), st.booleans(), integers, st.text(), st.floats(allow_nan=False, allow_infinity=False)
    ),
    source=st.one_of(st.text(), st.lists(st.integers()), moments, st.uuids(), st.sampled_from(Status)),
    size=st.none() | st.sampled_from(Size),
    access=st.sampled_from([Access.READ, Access.WRITE, Access.READ | Access.WRITE, Access(0)]),
    odd=st.sampled_from(Odd),
    placed=st.none() | moments,
    day=st.none() | st.dates(),
    at=st.none() | st.times(),
    lasts=st.none() | st.timedeltas(),
    key=st.none() | st.uuids(),
    raw=st.binary(),
    folder=st.none() | st.just(Path("/var/lib") / "sagas"),
    tags=st.sets(st.text(max_size=3), max_size=3),
    pairs=st.frozensets(st.tuples(st.integers(), st.text(max_size=3)), max_size=3),
    prices=st.dictionaries(st.integers(), decimals, max_size=3),
    counts=st.dictionaries(keys, st.lists(st.integers(), max_size=2), max_size=3),
    by_status=st.dictionaries(st.sampled_from(Status), st.integers()),
    sequence=st.lists(st.integers(), max_size=3) | st.tuples(st.integers()),
    row=st.lists(st.integers(), max_size=3).map(tuple),
    kind=st.sampled_from(["retail", 1]),
    page=st.none() | pages,
    address=st.none() | st.builds(Address, st.text(), st.lists(cards, max_size=2)),
    tree=st.none() | st.just(Node(1, [Node(2, [Node(3)]), Node(4)])),
    anything=values,
    private=st.integers(),
)
