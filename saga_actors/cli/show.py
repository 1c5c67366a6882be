"""`show`: one saga in two lanes, forward and back."""

from __future__ import annotations

import time

import click

from saga_actors.cli import account, json_form, options, show_form
from saga_actors.cli.account import Account
from saga_actors.cli.picture import picture, width
from saga_actors.cli.remedies import remedies, setting_here
from saga_actors.cli.terminal import console
from saga_actors.coordinator import Coordinator


@click.command()
@click.argument("saga_id", metavar="ID")
@click.option("--context", "contexts", is_flag=True, help="Print contexts, too, which may be secret.")
@options.output("text", "json")
@options.journal
def show(saga_id: str, contexts: bool, form: str, journal: str) -> None:
    """Show a saga, forward and back.

    What each step came to, every attempt with how long it took and why it failed, what was undone and what is left,
    what the saga waits for, what operators did to it, and what they may do now.
    """
    with options.attached(journal) as sagas:
        found = account_of(sagas, journal, saga_id)
    cures = remedies(found.status, setting_here(journal))
    if form != "text":
        json_form.print_one(show_form.shown(found, cures, contexts=contexts), form)
        return
    drawn_on = console(width())
    drawn_on.print(picture(found, cures, now=time.time(), contexts=contexts), crop=False)


def account_of(sagas: Coordinator, journal: str, saga_id: str) -> Account:
    """The account of this saga; a node, if there is one, says whether it serves it."""
    status = sagas.status(saga_id)
    with account.opened(journal) as accounts:
        return accounts.of(saga_id, served=status.served)
