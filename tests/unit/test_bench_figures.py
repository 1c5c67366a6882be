"""The figures of the bench: medians, percentiles and ratios, and how they are told."""

from __future__ import annotations

import json

import pytest

from saga_actors.bench import report
from saga_actors.bench.figure import Figures, percentile
from saga_actors.bench.machine import Machine
from saga_actors.bench.settings import Settings

MACHINE = Machine(2, "3.11.0", "0.1.0", "4.0.1", "3.50.0", "6.1", "ext4", "/bench", True)


def some_figures() -> Figures:
    figures = Figures()
    for ours, floor in ((30.0, 100.0), (10.0, 200.0), (20.0, 40.0)):
        figures.add("floor.success.all.sagas_per_s", "1/s", floor)
        figures.add("success.all.sagas_per_s", "1/s", ours, of="floor.success.all.sagas_per_s")
    return figures


def test_a_figure_is_the_median_of_its_rounds() -> None:
    """One slow round does not count for more than another."""
    assert some_figures()["success.all.sagas_per_s"].value == 20.0


def test_a_ratio_is_taken_round_by_round() -> None:
    """What disturbed both in one round is no difference between them."""
    assert some_figures().ratios("success.all.sagas_per_s") == pytest.approx((0.3, 0.05, 0.5))


def test_a_figure_that_was_taken_once_is_the_base_of_every_round() -> None:
    """So is one that is compared with several rounds of another."""
    figures = Figures()
    figures.add("idle", "MB", 100.0)
    for peak in (150.0, 200.0):
        figures.add("peak", "MB", peak, of="idle")
    assert figures.ratios("peak") == pytest.approx((1.5, 2.0))


def test_a_figure_without_a_base_has_no_ratio() -> None:
    """Nor has one whose base was not measured in this run, or was nothing."""
    figures = Figures()
    figures.add("alone", "s", 1.0)
    figures.add("lost", "s", 1.0, of="nowhere")
    figures.add("nothing", "s", 0.0)
    figures.add("of nothing", "s", 1.0, of="nothing")
    assert [figures.ratios(name) for name in ("alone", "lost", "of nothing")] == [None, None, None]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 99, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([1.0, 2.0], 50, 1.0),
    ],
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    values: list[float], percent: float, expected: float
) -> None:
    """It is always one of the values, in whatever order they came."""
    assert percentile(values, percent) == expected


def test_the_document_has_every_figure_with_its_rounds_and_ratio() -> None:
    """What `-o json` writes is read back by any program."""
    document = json.loads(report.as_json(MACHINE, Settings(), some_figures()))
    assert document["figures"]["success.all.sagas_per_s"] == {
        "unit": "1/s",
        "value": 20.0,
        "rounds": [30.0, 10.0, 20.0],
        "ratio": {
            "of": "floor.success.all.sagas_per_s",
            "value": pytest.approx(0.3),
            "rounds": pytest.approx([0.3, 0.05, 0.5]),
        },
    }
    assert document["machine"]["thespian"] == "4.0.1"
    assert document["settings"]["sagas"] == 1_000


def test_the_table_has_median_spread_and_ratio_in_a_line() -> None:
    """With what the ratio is to, and the floor below what is compared with it."""
    lines = report.as_text(MACHINE, Settings(), some_figures()).splitlines()
    cells = [line.split() for line in lines if "sagas_per_s" in line]
    assert cells == [
        ["success.all.sagas_per_s", "1/s", "20.0", "10.0", "30.0", "0.300", "floor.success.all.sagas_per_s"],
        ["floor.success.all.sagas_per_s", "1/s", "100", "40.0", "200"],
    ]


def test_the_table_leaves_out_roles_that_did_next_to_nothing() -> None:
    """The document has them."""
    figures = Figures()
    figures.add("success.all.cpu_ms", "ms", 10.0)
    figures.add("success.all.cpu_ms.root", "ms", 0.01)
    figures.add("success.all.cpu_ms.workers", "ms", 5.0)
    table = report.as_text(MACHINE, Settings(), figures)
    assert "success.all.cpu_ms.workers" in table
    assert "success.all.cpu_ms.root" not in table
    assert "success.all.cpu_ms.root" in report.as_json(MACHINE, Settings(), figures)


@pytest.mark.parametrize("syncs", [True, False])
def test_a_disk_that_keeps_nothing_is_said_to_be_one(syncs: bool) -> None:
    """Figures from a tmpfs are never taken for those of a disk."""
    machine = Machine(2, "3.11.0", "0.1.0", "4.0.1", "3.50.0", "6.1", "tmpfs", "/bench", syncs)
    assert ("fsync costs nothing" in report.as_text(machine, Settings(), some_figures())) is not syncs
