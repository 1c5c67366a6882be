"""The engine, its state machine and its codec in one process, with everything around them simulated, from a seed.

`python tests/simulation/simulate.py --count 5000 --seed 0` runs the schedules of 5,000 seeds and prints what they met.
The exit code is 1 if a promise was broken, or if at least 2,000 schedules did not meet all that is to be met. A flaw is
told with its seed, the command that replays it, and the history of its saga. With `--trace`, all that happened is
printed, one line for each thing, and nothing else.
"""

from __future__ import annotations

import argparse
import functools
import gc
import logging
import multiprocessing
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from engine_schedule import MET, SIX, Schedule, count, run, trace

SHARE = 50
"""So many schedules are done by a process at a time."""

REPLAY = "make simulate N=1 SEED={seed}"

ALL = 2_000
"""From so many on, all that is to be met must be."""


def main() -> int:
    """Run them, and print what came of it."""
    told = _arguments()
    _order_sets_alike()
    if told.trace:
        print("\n".join(line for seed in range(told.seed, told.seed + told.count) for line in trace(seed)))
        return 0
    begun = time.monotonic()
    seeds = range(told.seed, told.seed + told.count)
    schedules = _run(seeds, told.processes)
    flaws = [schedule for schedule in schedules if schedule.flaw is not None]
    for schedule in flaws[: told.flaws]:
        replay = REPLAY.format(seed=schedule.seed)
        print(f"seed {schedule.seed} breaks a promise; replay it with: {replay}\n{schedule.flaw}\n")
    print(_summary(schedules, seeds, time.monotonic() - begun, told.processes))
    met = count(schedules)
    print(_table(met))
    missed = sorted(name for name in MET if not met[name]) if told.count >= ALL else []
    if missed:
        print(f"no schedule met: {', '.join(missed)}")
    return 1 if flaws or missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5_000, help="how many schedules")
    parser.add_argument("--seed", type=int, default=0, help="that of the first; the others follow it")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--flaws", type=int, default=3, help="so many are told at most")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    return parser.parse_args()


def _order_sets_alike() -> None:
    """Begin anew with a fixed hash of strings, by which sets are ordered: else a seed would not replay."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})


def _run(seeds: range, processes: int) -> list[Schedule]:
    shares = [seeds[at : at + SHARE] for at in range(0, len(seeds), SHARE)]
    if processes == 1 or len(shares) == 1:
        return [schedule for share in shares for schedule in _run_share(share)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return [schedule for done in pool.imap(_run_share, shares) for schedule in done]


def _run_share(seeds: Iterable[int]) -> list[Schedule]:
    """One after the other; cycles are looked for in between only, and the product's log is nobody's concern."""
    logging.disable(logging.CRITICAL)
    gc.disable()
    done = [run(seed) for seed in seeds]
    gc.collect()
    return done


def _summary(schedules: list[Schedule], seeds: range, seconds: float, processes: int) -> str:
    spent = sum(resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    mean, rate = functools.partial(_mean, schedules), len(schedules) / seconds
    return (
        f"seeds {seeds[0]} to {seeds[-1]}: {len(schedules)} schedules in {seconds:.1f} s, {rate:.0f} a second with "
        f"{processes} processes, {len(schedules) / spent:.0f} a second of one processor's time\n"
        f"each, on average: {mean('sagas')} sagas, {mean('storm_events')} events in the storm and {mean('events')} in "
        f"all, {mean('crashes')} crashes, {mean('faults')} faults of messages\n"
        f"broken promises: {sum(schedule.flaw is not None for schedule in schedules)}\n"
    )


def _mean(schedules: list[Schedule], field: str) -> str:
    return f"{sum(getattr(schedule, field) for schedule in schedules) / len(schedules):.1f}"


def _table(met: Counter[str]) -> str:
    ways = {way for ways in SIX.values() for way in ways}
    others = sorted((name for name in MET if name not in SIX and name not in ways), key=lambda name: -met[name])
    lines = ["schedules that met"]
    for name, parts in SIX.items():
        lines.append(f"{met[name]:7d}  {name}")
        lines += [f"{met[part]:7d}      {part}" for part in parts if part != name]
    return "\n".join([*lines, "also", *(f"{met[name]:7d}  {name}" for name in others)])


if __name__ == "__main__":
    sys.exit(main())
