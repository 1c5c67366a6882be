"""What was measured: by name, a number for each round, and how it compares with another figure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs


@attrs.frozen
class Figure:
    """One number per round; `of` names the figure that it is compared with, round by round."""

    unit: str
    rounds: tuple[float, ...] = attrs.field(validator=attrs.validators.min_len(1))
    of: str | None = None

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    def ratios(self, base: Figure) -> tuple[float, ...]:
        """This divided by another; one that was taken once counts for every round."""
        pairs = max(len(self.rounds), len(base.rounds))
        ours, theirs = _stretched(self, pairs), _stretched(base, pairs)
        return tuple(mine / other for mine, other in zip(ours, theirs, strict=True))


def _stretched(figure: Figure, rounds: int) -> Sequence[float]:
    return figure.rounds if len(figure.rounds) == rounds else [figure.value] * rounds


class Figures:
    """All figures, in the order in which they were first taken."""

    def __init__(self) -> None:
        self._figures: dict[str, Figure] = {}

    def add(self, name: str, unit: str, value: float, *, of: str | None = None) -> None:
        """One round more of this figure."""
        before = self._figures.get(name)
        rounds = (value,) if before is None else (*before.rounds, value)
        self._figures[name] = Figure(unit, rounds, of)

    def items(self) -> Iterable[tuple[str, Figure]]:
        return self._figures.items()

    def __getitem__(self, name: str) -> Figure:
        return self._figures[name]

    def ratios(self, name: str) -> tuple[float, ...] | None:
        """How a figure compares with the one it is measured by, round by round; None where there is none."""
        figure = self._figures[name]
        base = None if figure.of is None else self._figures.get(figure.of)
        return None if base is None or not all(base.rounds) else figure.ratios(base)

    def as_json(self) -> Mapping[str, Any]:
        """As the documentation of this package says."""
        return {name: self._as_json(name, figure) for name, figure in self._figures.items()}

    def _as_json(self, name: str, figure: Figure) -> Mapping[str, Any]:
        ratios = self.ratios(name)
        ratio = ratios and {"of": figure.of, "value": statistics.median(ratios), "rounds": list(ratios)}
        return {"unit": figure.unit, "value": figure.value, "rounds": list(figure.rounds), "ratio": ratio}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]
