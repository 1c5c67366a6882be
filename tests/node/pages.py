"""Documentation as it is meant: files are written, commands typed, and what they print is compared.

A block whose info string names a file (`python orders.py`) is that file. In a `console` block a line that begins with
`$` is typed into bash, and what follows is what it prints, on both outputs; `...` stands for anything, and spacing is
free.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)(?: ([\w./-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


def follow(page: str, folder: Path) -> int:
    """Do in this folder what the page says, from its beginning to its end; how many commands that were."""
    count = 0
    for language, file, text in BLOCK.findall(page):
        if file:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text)
        elif language == "console":
            for command, shown in COMMAND.findall(text):
                said = typed(command, folder)
                assert is_like(said, shown), f"$ {command}\n{said}"
                count += 1
    return count


def typed(command: str, folder: Path) -> str:
    """What the command prints, on both outputs, without what fills its lines up; it must succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, f"$ {command}\n{ran.stdout}"
    return "".join(f"{line.rstrip()}\n" for line in ran.stdout.splitlines())


def is_like(said: str, shown: str) -> bool:
    """Whether it is what is shown, however it is spaced: times are longer or shorter."""
    said = "".join(said.split())
    first, *others = ("".join(part.split()) for part in shown.split("..."))
    if not others:
        return said == first
    at = len(first)
    for part in others[:-1]:
        if (found := said.find(part, at)) < 0:
            return False
        at = found + len(part)
    return said.startswith(first) and said[at:].endswith(others[-1])
