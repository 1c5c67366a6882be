"""Tables, drawn with rich: in the width that there is, and nothing is cut that somebody may want to copy."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from saga_actors.cli.terminal import console
from saga_actors.outcomes import SagaState

COLOURS = {
    SagaState.RUNNING: "cyan",
    SagaState.COMPENSATING: "yellow",
    SagaState.COMPLETED: "green",
    SagaState.COMPENSATED: "yellow",
    SagaState.FATAL: "bold red",
    SagaState.HELD: "bold magenta",
}
"""How a state looks, where there is colour."""


@attrs.frozen
class Column:
    """One column, of texts that are safe. `gives_way`: it is folded first where there is no room."""

    title: str
    cells: Sequence[str]
    gives_way: bool = False
    is_state: bool = False


def draw(columns: Sequence[Column]) -> None:
    """Print a table of these."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0), collapse_padding=True
    )
    for column in columns:
        table.add_column(column.title, overflow="fold", no_wrap=not column.gives_way)
    for row in range(len(columns[0].cells)):
        table.add_row(
            *(
                Text(column.cells[row], style=COLOURS[SagaState(column.cells[row])] if column.is_state else "")
                for column in columns
            )
        )
    console().print(table)
