"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import attrs
import psutil  # type: ignore[import-untyped, unused-ignore]

IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@attrs.frozen
class Machine:
    """One machine, and the file system of one folder; `syncs` is False where an fsync costs nothing."""

    cpus: int
    python: str
    saga_actors: str
    thespian: str
    sqlite: str
    kernel: str
    file_system: str
    folder: str
    syncs: bool

    @classmethod
    def here(cls, folder: Path) -> Machine:
        """This one, with the file system on which `folder` is."""
        kind = file_system(folder)
        return cls(
            cpus=len(os.sched_getaffinity(0)),
            python=platform.python_version(),
            saga_actors=version("saga-actors"),
            thespian=version("thespian"),
            sqlite=_sqlite(),
            kernel=platform.release(),
            file_system=kind,
            folder=str(folder),
            syncs=kind not in IN_MEMORY,
        )


def file_system(folder: Path) -> str:
    """The kind of the file system on which a folder is; `unknown` if the system does not say."""
    found = folder.resolve()
    kinds = {each.mountpoint: str(each.fstype) for each in psutil.disk_partitions(all=True)}
    return next((kinds[str(place)] for place in (found, *found.parents) if str(place) in kinds), "unknown")


def _sqlite() -> str:
    """As apsw's own version begins: it carries its SQLite with it."""
    return ".".join(version("apsw").split(".")[:3])
