"""`saga-actors`: runs the verb that is named, and turns whatever comes of it into an exit code."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from saga_actors.cli.exits import ExitCode, code_of
from saga_actors.cli.terminal import safe, say
from saga_actors.errors import SagaActorsError, SagaInterruptedError

DEBUG, DEBUG_VARIABLE = "--debug", "SAGA_ACTORS_DEBUG"


class Verb(NamedTuple):
    """Where a verb is found, and what it does: a help for all of them imports none."""

    place: str
    does: str


VERBS: dict[str, Verb] = {
    "up": Verb("up:up", "Run a node in the foreground, until Ctrl-C."),
    "down": Verb("down:down", "End the node of a journal."),
    "run": Verb("run:run", "Run a saga, and wait for its outcome."),
    "start": Verb("run:start", "Start a saga, and print its id."),
    "status": Verb("status:status", "Say in a line how a saga stands."),
    "show": Verb("show:show", "Show a saga, forward and back."),
    "history": Verb("history:history", "Print the events of a saga."),
    "list": Verb("listing:list_", "List sagas, the newest first."),
    "watch": Verb("watch:watch", "Watch sagas, until interrupted."),
    "stuck": Verb("stuck:stuck", "List what waits for an operator, and what would help."),
    "cancel": Verb("operate:cancel", "Turn a saga back."),
    "retry": Verb("operate:retry", "Try the failed undo, or the held step, again."),
    "settle": Verb("operate:settle", "Say whether an unknown step of a held saga happened."),
    "skip": Verb("operate:skip", "Go on past a failed undo, which was done by hand."),
    "resolve": Verb("operate:resolve", "End a fatal or held saga by hand."),
    "accept": Verb("operate:accept", "Go on with a changed definition."),
    "prune": Verb("prune:prune", "Remove what is kept of sagas that ended long ago."),
    "check": Verb("check:check", "Check a definition: what is undone when a step fails."),
    "graph": Verb("graph:graph", "Draw a definition, forward and back."),
    "doctor": Verb("doctor:doctor", "Look a journal and its node over."),
    "backup": Verb("backup:backup", "Copy a journal, also while a node writes it."),
    "bench": Verb("bench:bench", "Measure a node on this machine."),
    "completion": Verb("completion:completion", "Print what makes your shell complete these."),
    "version": Verb("version:version", "Print versions."),
}


class Verbs(click.Group):
    """All verbs, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, which is that of a saga's life."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb of this name; None if there is none."""
        if name not in VERBS:
            return None
        module, _, attribute = VERBS[name].place.partition(":")
        command: click.Command = getattr(importlib.import_module(f"saga_actors.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A line for each, from the table."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.does) for name, verb in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; whoever reads its output may stop reading whenever they like."""
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python says so again when it ends
            return ExitCode.OK
        return answer


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 answered, 1 unexpected or unknown id, 2 usage, 3 no node or journal; of run and of status "
    "--exit-code also 10 compensated, 20 fatal, 30 held, 4 timed out.",
)
@click.option(DEBUG, is_flag=True, envvar=DEBUG_VARIABLE, help="Show the traceback of an error, and all logs.")
def saga_actors(debug: bool) -> None:
    """Durable sagas: run them, ask about them, and help those that are stuck.

    Settings come from flags, then from SAGA_ACTORS_*, then from [tool.saga-actors] in pyproject.toml.
    """
    level = logging.DEBUG if debug else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verb that the arguments name; the exit code."""
    typed = sys.argv[1:] if arguments is None else list(arguments)
    given = sorted(typed, key=lambda each: each != DEBUG)  # it may stand anywhere
    try:
        return int(saga_actors.main(given, prog_name="saga-actors", standalone_mode=False) or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except (click.Abort, KeyboardInterrupt) as interrupted:
        return _interrupted(interrupted)
    except Exception as error:
        if DEBUG in given or os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        return _told(error)


def _interrupted(interrupted: BaseException) -> int:
    cause = interrupted.__cause__ or interrupted.__context__ or interrupted
    say(safe(cause) if isinstance(cause, SagaInterruptedError) else "interrupted")
    return ExitCode.INTERRUPTED


def _told(error: Exception) -> int:
    """One or two sentences of what went wrong."""
    if isinstance(error, SagaActorsError):
        say(f"Error: {safe(error)}")
        return code_of(error)
    say(f"Error: {type(error).__name__}: {safe(error)}; saga-actors --debug ... shows where")
    return ExitCode.FAILED


if __name__ == "__main__":
    sys.exit(main())
