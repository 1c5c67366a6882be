"""The command: reads its arguments, runs the bench, and prints what came of it."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from saga_actors.bench import report
from saga_actors.bench.bench import Bench
from saga_actors.bench.machine import Machine
from saga_actors.bench.place import Place, place
from saga_actors.bench.settings import Settings, read
from saga_actors.errors import SagaActorsError

INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run the bench with these arguments; the exit code. The figures go to standard output, all else to the other."""
    settings = read(arguments)
    logging.getLogger("saga_actors").setLevel(logging.ERROR)  # that sagas stay unfinished is no news here
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with place(settings.journal) as here:
            _announce(settings, here)
            machine = Machine.here(here.folder)
            figures = Bench(settings, here, _say).run()
    except SagaActorsError as error:
        _say(f"no figures: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; its nodes have ended")
        return INTERRUPTED
    write = report.as_json if settings.as_json else report.as_text
    print(write(machine, settings, figures))
    return 0


def _announce(settings: Settings, here: Place) -> None:
    what = "is removed afterwards" if settings.journal is None else f"is removed afterwards; {settings.journal} is kept"
    _say(f"journals are in {here.folder}, which {what}")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
