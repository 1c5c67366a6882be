"""`stuck`: what waits for an operator, why, since when, and the commands that would help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import click

from saga_actors.cli import account, json_form, options, show_form
from saga_actors.cli.account import Account, Accounts
from saga_actors.cli.exits import ExitCode
from saga_actors.cli.facts import failure_words, held_words
from saga_actors.cli.moments import clock_time
from saga_actors.cli.picture import width
from saga_actors.cli.remedies import Setting, remedies, setting_here
from saga_actors.cli.table import COLOURS
from saga_actors.cli.terminal import console, safe, say
from saga_actors.errors import SagaActorsError
from saga_actors.outcomes import SagaState

ON_THEIR_WAY = (SagaState.RUNNING, SagaState.COMPENSATING)


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything is stuck.")
@options.output()
@options.journal
def stuck(limit: int, exit_code: bool, form: str, journal: str) -> ExitCode:
    """List what waits for an operator, and what would help: fatal and held sagas, the longest stuck first.

    For each why, since when, and the commands that may be used; the reason is to be filled in. Also says if there are
    unfinished sagas that nobody serves.
    """
    setting = setting_here(journal)
    with account.opened(journal) as accounts:
        found = list(islice(stuck_ones(accounts), limit + 1))
        unfinished = _unfinished(accounts)
    _print(found[:limit], setting, form)
    if not found:
        say("nothing is stuck")
    if len(found) > limit:
        say(f"there are more than {limit}; --limit shows more of them")
    _tell_of_unserved(journal, unfinished)
    return ExitCode.FAILED if exit_code and found else ExitCode.OK


def stuck_ones(accounts: Accounts) -> Iterator[Account]:
    """All that wait for an operator, the longest stuck first; not those that one has ended by hand."""
    listed = [saga for state in (SagaState.FATAL, SagaState.HELD) for saga in accounts.listed(state)]
    for saga in sorted(listed, key=lambda saga: saga.updated_at):
        found = accounts.of_listed(saga)
        if found is not None and is_stuck(found):
            yield found


def is_stuck(found: Account) -> bool:
    """Whether it waits for an operator; a fatal saga that one has resolved does not, unless nobody can read that."""
    is_illegible = found.execution is None and found.status.state is SagaState.FATAL
    return found.status.state is SagaState.HELD or is_illegible or bool(found.status.allowed_actions)


def _print(found: Sequence[Account], setting: Setting, form: str) -> None:
    if form == "text":
        for number, each in enumerate(found):
            _draw(each, setting, is_first=number == 0)
        return
    json_form.print_many((show_form.told(each, remedies(each.status, setting)) for each in found), form)


def _draw(found: Account, setting: Setting, *, is_first: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    status, drawn_on = found.status, console(width())
    since = f" since {clock_time(status.updated_at)}" if status.updated_at.timestamp() else ""
    state = (str(status.state), COLOURS[status.state])
    head = Text.assemble((safe(status.saga_id), "bold"), f" {safe(status.saga)}: ", state, since)
    drawn_on.print(*([] if is_first else [Text()]), head, sep="\n")
    for why in _why(found):
        drawn_on.print(Padding(Text(safe(why), overflow="fold"), (0, 0, 0, 2), expand=False))
    for cure in remedies(status, setting):
        drawn_on.print(Text(f"    {safe(cure.command)}"), soft_wrap=True)


def _why(found: Account) -> Iterator[str]:
    execution = found.execution
    held = held_words(found.status)
    if held:
        yield held
    if execution is not None and execution.undo_failure is not None:
        yield f"the undo of {failure_words(execution.undo_failure)}"
    if execution is not None and execution.failure is not None:
        yield f"it went back because {failure_words(execution.failure)}"
    if found.gap is not None and found.gap not in held:
        yield f"unreadable: {found.gap}"


Unfinished = dict[str, tuple[int, str]]
"""How many there are of a saga, by its name, and the id of one."""


def _unfinished(accounts: Accounts) -> Unfinished:
    listed = [(saga.saga, saga.saga_id) for state in ON_THEIR_WAY for saga in accounts.listed(state)]
    counts, one = Counter(name for name, _ in listed), dict(listed)
    return {name: (count, one[name]) for name, count in counts.items()}


def _tell_of_unserved(journal: str, unfinished: Unfinished) -> None:
    """Those that are not stuck, and yet do not go on."""
    from saga_actors.node_folder import NodeFolder, holder

    if not unfinished:
        return
    if holder(NodeFolder.of(journal)) is None:
        count = sum(count for count, _ in unfinished.values())
        say(f"{_sagas(count)} unfinished, and no node runs; start one: saga-actors up")
        return
    with options.attached(journal) as sagas:
        for name, (count, saga_id) in unfinished.items():
            try:
                is_served = sagas.status(saga_id).served
            except SagaActorsError:  # it has ended and gone since
                continue
            if not is_served:
                say(f"{_sagas(count)} unfinished, of {safe(name)}, which nobody serves; start the node with its module")


def _sagas(count: int) -> str:
    return f"{count:,} saga{' is' if count == 1 else 's are'}"
