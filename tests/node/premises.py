"""A station that must be left as it was found: no process of its node stays, however the test ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from station import EFFECTIVE, Station

from saga_actors.errors import JournalError
from saga_actors.journal import open_reader
from saga_actors.node_folder import holders

HERE = Path(__file__).parent


class Premises(Station):
    """A folder with a journal, its coordinators, and scripts that use it from processes of their own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._scripts: list[subprocess.Popen[str]] = []

    # Scripts.

    def write(self, name: str, text: str) -> Path:
        """A file in the folder; `URL` in it stands for the journal's, `FOLDER` for the folder's path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(text).replace("URL", repr(self.url)).replace("FOLDER", repr(str(self.folder)))
        path.write_text(text)
        return path

    def begin(self, script: Path | str, *options: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Run a script in a process of its own; with its output in pipes."""
        ran = subprocess.Popen(
            [sys.executable, *options, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd or self.folder,
            env={**os.environ, "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "error"},
        )
        self._scripts.append(ran)
        return ran

    def run(self, script: Path | str, *options: str, cwd: Path | None = None, said: str = "") -> tuple[int, str, str]:
        """Run a script to its end: its exit code, and what it wrote to its two outputs."""
        ran = self.begin(script, *options, cwd=cwd)
        out, err = ran.communicate(said, timeout=EFFECTIVE * 2)
        return ran.returncode, out, err

    # What is left.

    def sagas_in_journal(self) -> int:
        """How many sagas were accepted; the journal itself is read."""
        try:
            reader = open_reader(self.url)
        except JournalError:
            return 0
        with contextlib.closing(reader):
            return sum(reader.counts().values())

    def is_deserted(self) -> bool:
        """Whether no process of a node is left, registered or not."""
        return not (self.family() or (self.node.lock.exists() and holders(self.node)))

    def left_behind(self) -> list[str]:
        """End everything; what did not end by itself."""
        for script in self._scripts:
            with script:
                script.send_signal(signal.SIGKILL)
        for coordinator in self._coordinators:
            coordinator.close(0.0)
        deadline = time.monotonic() + EFFECTIVE
        while not self.is_deserted() and time.monotonic() < deadline:
            time.sleep(0.01)
        left = [str(process) for process in self.seen if process.alive]
        if self.node.lock.exists():
            left += [f"pid {pid} holds the lock" for pid in holders(self.node)]
        for process in self.seen:
            process.kill()
        return left
