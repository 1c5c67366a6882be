"""A node that runs as long as this process: starts it, tells what happens to it, and hands signals on."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from saga_actors.cli.exits import ExitCode
from saga_actors.cli.moments import lasting
from saga_actors.cli.terminal import safe, say
from saga_actors.errors import NodeError
from saga_actors.journal import check_journal
from saga_actors.node import ENDED, TAKEN
from saga_actors.node_folder import NodeFolder, holder, pidfd
from saga_actors.node_log import entries
from saga_actors.node_spec import Life, NodeSpec
from saga_actors.node_start import StartedNode, start_node

LOOK_EVERY = 0.1
"""Seconds between two looks into node.log, to which all processes of the node write."""


class Foreground:
    """One node, from its start to its end."""

    def __init__(self, spec: NodeSpec, *, verbose: bool = False) -> None:
        self._spec = spec
        self._folder = NodeFolder.of(spec.journal_url)
        self._verbose = verbose
        self._signals = 0
        self._life: Life | None = None

    def run(self) -> ExitCode:
        """Serve until told to end, or until the node ends by itself; the exit code."""
        with self._signals_counted():
            while True:
                self._wait_for_another()
                if self._signals:
                    say("nothing was started")
                    return ExitCode.OK
                check_journal(self._spec.journal_url)
                node = start_node(self._spec)
                with Log(self._folder, node.log_began, verbose=self._verbose) as log:
                    code = self._watch(node, log)
                if code != TAKEN:  # else another was quicker
                    return self._ended(code)

    def _wait_for_another(self) -> None:
        """Wait for a node that is about to end, as one is of which the `up` was killed; NodeError if it is not."""
        waited = False
        while (watchdog := holder(self._folder)) is not None and not self._signals:
            life = self._folder.present_life()
            if life is not None and not self._folder.is_ending:
                self._refuse(watchdog.pid, life)
            if not waited:
                say(f"node {watchdog.pid} begins or ends; waiting for that")
                waited = True
            with suppress(ProcessLookupError), pidfd(watchdog.pid) as end:
                select.select([end], [], [], LOOK_EVERY)

    def _refuse(self, pid: int, life: Life) -> None:
        modules = ", ".join(life.modules)
        whose = f"of {modules}" if modules else "that a program started, and that ends with it,"
        raise NodeError(
            f"a node {whose} serves {self._spec.journal_url} already: pid {pid}; end it with: saga-actors down"
        )

    def _watch(self, node: StartedNode, log: Log) -> int:
        told = 0
        with pidfd(node.pid) as end:
            while (code := node.poll()) is None:
                log.tell()
                self._tell_of_life()
                if told < self._signals:
                    told += 1
                    self._hand_on(node, told)
                select.select([end], [], [], LOOK_EVERY)
        log.tell()
        return code

    def _tell_of_life(self) -> None:
        life = self._folder.present_life()
        if life is not None and life != self._life:
            self._life = life
            say(f"ready: node {life.watchdog_pid} serves {self._spec.journal_url}; its log is {self._folder.log}")

    def _hand_on(self, node: StartedNode, count: int) -> None:
        if count == 1:
            say(f"draining, for {lasting(self._spec.drain)} at most; once more, and it stops at once")
            node.send_signal(signal.SIGTERM)
        else:
            say("stopping")
            node.send_signal(signal.SIGINT)  # another one than before, for two of a kind may come as one

    def _ended(self, code: int) -> ExitCode:
        if self._signals > 1:
            say("stopped; what was in flight is run again when a node is started")
            return ExitCode.INTERRUPTED
        if code != ENDED:
            raise NodeError(f"the node ended with code {code}; {self._folder.log} says why")
        say("drained; unfinished sagas stay in the journal, and go on when a node is started")
        return ExitCode.OK

    @contextmanager
    def _signals_counted(self) -> Iterator[None]:
        before = {each: signal.signal(each, self._count) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _count(self, *_: object) -> None:
        self._signals += 1


class Log:
    """What a node writes to its log from now on, and what of that matters to whoever runs it."""

    def __init__(self, folder: NodeFolder, since: int, *, verbose: bool) -> None:
        self._file = folder.log.open("rb")
        self._file.seek(since)
        self._verbose = verbose
        self._rest = b""

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def tell(self) -> None:
        """Print what is new; of a log that was put aside meanwhile, what is in the one that began then."""
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._rest = b""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            if (told := self._told(line.decode(errors="replace"))) is not None:
                click.echo(told, err=True)

    def _told(self, line: str) -> str | None:
        entry = next(entries(line), None)
        if entry is None:
            return safe(line) if self._verbose else None
        if entry.level == "INFO" and entry.is_of_one_saga and not self._verbose:
            return None
        return f"{entry.at:%H:%M:%S} {'' if entry.level == 'INFO' else entry.level + ' '}{safe(entry.text)}"
