"""What is to be measured, as the command line says it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import attrs

from saga_actors.bench.load import Mode
from saga_actors.bench.sagas import MOST_STEPS, Case

MODES = {"1": Mode.ONE, "64": Mode.THREADS, "all": Mode.ALL}


@attrs.frozen
class Settings:
    """How much of what; `journal` is the URL of a journal to be made and kept, None for one that is removed."""

    sagas: int = 1_000
    modes: tuple[Mode, ...] = tuple(Mode)
    cases: tuple[Case, ...] = (Case.SUCCESS, Case.ROLLBACK)
    steps: int = 4
    workers: int = 2
    journal: str | None = None
    unfinished: int = 10_000
    rounds: int = 3
    idle: float = 5.0
    as_json: bool = False


def read(arguments: Sequence[str]) -> Settings:
    """The settings that these arguments mean; ends the program, with what is wrong, if they mean none."""
    given = _parser().parse_args(arguments)
    return Settings(
        sagas=given.sagas,
        modes=tuple(Mode) if given.concurrency is None else (MODES[given.concurrency],),
        cases=Settings().cases if given.case is None else (Case(given.case),),
        steps=given.steps,
        workers=given.workers,
        journal=given.journal,
        unfinished=given.unfinished,
        rounds=given.rounds,
        idle=given.idle,
        as_json=given.output == "json",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="saga-actors bench",
        description="Measure a node on this machine, beside a program that does the same steps without one.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = Settings()
    add = parser.add_argument
    add("--sagas", type=_whole(1), default=default.sagas, help="so many in each round")
    add("--concurrency", choices=MODES, help="one at a time, from 64 threads, or all at once; without it, all three")
    add("--case", choices=[str(case) for case in Case], help="what becomes of them; without it, success and rollback")
    add("--steps", type=_whole(1, MOST_STEPS), default=default.steps, help="of each saga")
    add("--workers", type=_whole(1, 64), default=default.workers, help="processes that run steps")
    add("--journal", metavar="URL", help="a journal to make, and to keep; without it, one that is removed")
    add("--unfinished", type=_whole(0), default=default.unfinished, help="so many are at hand for one of the kills")
    add("--rounds", type=_whole(1), default=default.rounds, help="each figure is the median of so many")
    add("--idle", type=_seconds, default=default.idle, metavar="SECONDS", help="for which an idle node is watched")
    add("-o", "--output", choices=("text", "json"), default="text", help="json: one document")
    return parser


def _whole(least: int, most: int = 1_000_000) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return number

    return whole_number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0.1 <= number <= 3_600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 3600 seconds")
    return number
