"""The figures as a table for people, and as a document for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator

import attrs

from saga_actors.bench.figure import Figure, Figures
from saga_actors.bench.machine import Machine
from saga_actors.bench.settings import Settings

LITTLE = 0.01
"""A role with so small a share of the CPU is left out of the table."""


def as_json(machine: Machine, settings: Settings, figures: Figures) -> str:
    """One document, with the keys that the documentation of this package names."""
    chosen = attrs.asdict(settings, filter=lambda attribute, _: attribute.name != "as_json")
    document = {"machine": attrs.asdict(machine), "settings": chosen, "figures": figures.as_json()}
    return json.dumps(document, indent=2, allow_nan=False)


def as_text(machine: Machine, settings: Settings, figures: Figures) -> str:
    """A table: the median of each figure, the least and the greatest of its rounds, and how it compares."""
    return "\n".join([*_heading(machine, settings), "", *_table(list(_rows(figures)))])


def _heading(machine: Machine, settings: Settings) -> Iterator[str]:
    yield (
        f"{settings.sagas:,} sagas of {settings.steps} steps, {settings.workers} workers, "
        f"{settings.rounds} rounds; synchronous=FULL, every event journalled"
    )
    yield (
        f"{machine.cpus} CPUs, Python {machine.python}, saga_actors {machine.saga_actors}, "
        f"Thespian {machine.thespian}, SQLite {machine.sqlite}, Linux {machine.kernel}"
    )
    yield f"journals in {machine.folder}, on {machine.file_system}"
    if not machine.syncs:
        yield f"NOTE: {machine.file_system} is kept in memory: an fsync costs nothing there, and nothing is durable"


def _rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    yield "figure", "unit", "median", "least", "greatest", "ratio", "to"
    group = None
    for name, figure in _in_groups(figures):
        if group not in (None, _group(name)):
            yield ()
        group = _group(name)
        yield (name, figure.unit, *_spread(figure), *_ratio(figures, name, figure))


def _in_groups(figures: Figures) -> Iterator[tuple[str, Figure]]:
    """In the order in which they were taken, but groups together, and the floors below; no roles that did little."""
    groups: dict[str, list[tuple[str, Figure]]] = {}
    for name, figure in figures.items():
        whole, _, role = name.partition(".cpu_ms.")
        if not role or figure.value > LITTLE * figures[f"{whole}.cpu_ms"].value:
            groups.setdefault(_group(name), []).append((name, figure))
    for group in sorted(groups, key=lambda group: group.startswith("floor")):
        yield from groups[group]


def _group(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[: 3 if parts[0] == "floor" else 2]) if len(parts) > 2 else parts[0]


def _spread(figure: Figure) -> tuple[str, str, str]:
    return _number(figure.value), _number(min(figure.rounds)), _number(max(figure.rounds))


def _ratio(figures: Figures, name: str, figure: Figure) -> tuple[str, str]:
    ratios = figures.ratios(name)
    return ("", "") if ratios is None else (_number(statistics.median(ratios)), str(figure.of))


def _number(value: float) -> str:
    """Three digits that mean something."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def _table(rows: list[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows if row) for column in range(len(rows[0]))]
    return [_line(row, widths) for row in rows]


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    """Numbers to the right, words to the left."""
    cells = [
        cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join(cells).rstrip()
