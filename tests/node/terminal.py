"""`saga-actors` as a person has it: in a terminal of 80 columns, where keys are typed and a screen is read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 30.0
_SEQUENCE = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")
COMMAND = [sys.executable, "-m", "saga_actors"]


class Terminal:
    """One command in a terminal of its own."""

    def __init__(self, arguments: list[str], cwd: Path, **environment: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.raw = ""
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=os.environ | {"TERM": "xterm-256color"} | environment,
            preexec_fn=_have_terminal,
        )
        os.close(slave)

    @property
    def text(self) -> str:
        """All that was printed, without colours and with plain ends of lines."""
        return _SEQUENCE.sub("", self.raw).replace("\r\n", "\n")

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until this is on the screen."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.text)) is None:
            assert self._read(deadline), f"{pattern!r} never came:\n{self.text}"
        return found

    def types(self, keys: str) -> None:
        """Press these keys; \\x03 is Ctrl-C."""
        os.write(self._master, keys.encode())

    def ends(self) -> int:
        """Wait for the end; the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._master)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(OSError):  # that is how a terminal ends
            if ready and (chunk := os.read(self._master, 65_536)):
                self.raw += chunk.decode(errors="replace")
                return True
        return False


def _have_terminal() -> None:
    """Lead a session whose terminal this is, so that Ctrl-C reaches it."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def terminal(*arguments: str, cwd: Path, **environment: str) -> Iterator[Terminal]:
    """The command, of which nothing is left afterwards."""
    opened = Terminal([*arguments], cwd, **environment)
    try:
        yield opened
    finally:
        opened.close()


def piped(*arguments: str, cwd: Path, given: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command without a terminal: what came of it."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        input=given,
    )
