"""The options that verbs share, each a decorator; and the coordinator that they lead to."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from saga_actors.cli import settings
from saga_actors.journal.url import JournalUrl

if TYPE_CHECKING:
    from saga_actors.coordinator import Coordinator

F = TypeVar("F", bound=Callable[..., Any])

NO_JOURNAL = (
    'no journal was named; give it as -j sqlite:///sagas.db, or in SAGA_ACTORS_JOURNAL, or as journal = "..." under '
    f"[{settings.TABLE}] in pyproject.toml"
)

FORMATS = ("text", "json", "jsonl")


def application(command: F) -> F:
    """`--app-dir`, which every verb has: where the application is, and its pyproject.toml."""
    return click.option(
        "--app-dir",
        default=".",
        envvar="SAGA_ACTORS_APP_DIR",
        metavar="FOLDER",
        type=click.Path(exists=True, file_okay=False),
        is_eager=True,
        expose_value=False,
        callback=lambda ctx, _, folder: settings.enter(ctx, folder),
        help="The application's folder, which comes first on the path. [default: the working directory]",
    )(command)


def journal(command: F) -> F:
    """`-j`: the journal, as a URL; there is no default."""
    return application(
        click.option(
            "-j",
            "--journal",
            envvar="SAGA_ACTORS_JOURNAL",
            metavar="URL",
            callback=_url,
            help="The journal, such as sqlite:///sagas.db.",
        )(command)
    )


def _url(_: click.Context, __: click.Parameter, given: str | None) -> str:
    if not given:
        raise click.UsageError(NO_JOURNAL)
    return str(JournalUrl.parse(given))


def modules(command: F) -> F:
    """`-A`: the modules with sagas."""
    return click.option(
        "-A",
        "--app",
        "app",
        multiple=True,
        envvar="SAGA_ACTORS_APP",
        metavar="MODULE",
        help="A module with sagas, such as shop.sagas; may be given more than once.",
    )(command)


def output(*formats: str) -> Callable[[F], F]:
    """`-o`: text, or JSON that programs can rely on."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(formats or FORMATS),
        default="text",
        show_default=True,
        help="What is printed: text, or JSON as docs/command-line.md has it.",
    )


def whose(command: F) -> F:
    """`--by` and `--reason`: who changes something, and why."""
    command = click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept in the saga's history.")(
        command
    )
    return click.option(
        "--by", default=login_name, metavar="NAME", help="Who; it is kept as well. [default: your login name]"
    )(command)


def confirmed(command: F) -> F:
    """`--dry-run` and `--yes`."""
    command = click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)
    return click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")(command)


def login_name() -> str:
    """Whoever is logged in, as far as the system knows a name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in a container
        return f"uid {os.getuid()}"


def attached(url: str, sagas: Sequence[str] = ()) -> Coordinator:
    """A coordinator that starts no node; what it can ask the journal itself, it does where there is none."""
    from saga_actors.coordinator import Coordinator

    return Coordinator(url, node="attach", sagas=list(sagas))


def require_node(url: str) -> None:
    """Say at once that there is no node, where something cannot be done without one."""
    from saga_actors.errors import NodeUnreachableError
    from saga_actors.node_folder import NodeFolder
    from saga_actors.node_start import node_running

    if not node_running(NodeFolder.of(url)):
        raise NodeUnreachableError(f"no node serves {url}; start one with: saga-actors up -A MODULE -j {url}")
