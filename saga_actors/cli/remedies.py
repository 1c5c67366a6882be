"""What an operator may do with a saga that is stuck: as commands that are complete, but for the reason."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

import attrs
import click
from click.core import ParameterSource

from saga_actors.events import HoldReason
from saga_actors.outcomes import Action, SagaState, SagaStatus

BLANK = '--reason "..."'


@attrs.frozen
class Setting:
    """What the commands must name, as it is in no settings: the journal, and whether a module with sagas."""

    journal: str | None = None
    has_modules: bool = False


@attrs.frozen
class Remedy:
    """One of the things that can be done: what it does, and how it is typed."""

    does: str
    command: str


def setting_here(journal: str) -> Setting:
    """The setting of the command that runs now: a journal that was named by a flag has to be named again."""
    context = click.get_current_context()
    come_from = context.get_parameter_source("journal"), context.get_parameter_source("app_dir")
    is_named = ParameterSource.COMMANDLINE in come_from and come_from[0] is not ParameterSource.ENVIRONMENT
    has_modules = bool(os.environ.get("SAGA_ACTORS_APP") or (context.default_map or {}).get("app"))
    return Setting(journal if is_named else None, has_modules)


def remedies(status: SagaStatus, setting: Setting) -> list[Remedy]:
    """All that may be done, the mildest first."""
    return [remedy for action in status.allowed_actions for remedy in _for(action, status, setting)]


def _for(action: Action, status: SagaStatus, setting: Setting) -> Iterator[Remedy]:
    def typed(*words: str, flags: tuple[str, ...] = ()) -> str:
        return _typed(str(action), words, flags, setting)

    match action:
        case Action.RETRY:
            yield Remedy(_retries(status), typed(status.saga_id))
        case Action.SETTLE:
            for step in status.in_doubt:
                happened = f"{step} happened; if it returned something, add --result JSON"
                yield Remedy(happened, typed(status.saga_id, step, flags=("--happened",)))
                yield Remedy(f"{step} did not happen", typed(status.saga_id, step, flags=("--did-not-happen",)))
        case Action.SKIP:
            step = stuck_at(status) or ""
            yield Remedy(f"the undo of {step} was done by hand; go on with the rest", typed(status.saga_id, step))
        case Action.CANCEL:
            yield Remedy("turn it back; undo what was done", typed(status.saga_id))
        case Action.ACCEPT:
            needs_module = ":" not in status.saga and not setting.has_modules
            flags = ("-A", "MODULE") if needs_module else ()
            yield Remedy(
                "go on with the definition as it is now, for all that are held for it", typed(status.saga, flags=flags)
            )
        case Action.RESOLVE:
            does = "end it by hand, for good: as compensated, completed or fatal"
            yield Remedy(does, typed(status.saga_id, str(SagaState.COMPENSATED)))


def stuck_at(status: SagaStatus) -> str | None:
    """The step that a fatal or held saga stands at."""
    if status.state is SagaState.FATAL:
        return status.failure.step if status.failure else None
    return status.current_step


def _retries(status: SagaStatus) -> str:
    step = stuck_at(status)
    if status.state is SagaState.FATAL:
        return f"try the undo of {step} again, with fresh retries"
    match (status.held_reason or "").partition(":")[0]:
        case HoldReason.UNKNOWN_OUTCOME:
            return f"run {step} again, with the same key"
        case HoldReason.UNDO_INTERRUPTED:
            return f"run the undo of {step} again"
        case HoldReason.DEFINITION_CHANGED:
            return "go on, once the definition that is served fits again"
        case HoldReason.CORRUPT:
            return "read its records again, once they were mended"
        case _:
            return "try it again where it stands"


def _typed(verb: str, words: tuple[str, ...], flags: tuple[str, ...], setting: Setting) -> str:
    """The command, as a shell takes it; words that look like flags come last, behind two dashes."""
    quoted = [shlex.quote(word) for word in words]
    options = [*flags, BLANK]
    if setting.journal is not None:
        options += ["-j", shlex.quote(setting.journal)]
    if any(word.startswith("-") for word in words):
        return " ".join(["saga-actors", verb, *options, "--", *quoted])
    return " ".join(["saga-actors", verb, *quoted, *options])
