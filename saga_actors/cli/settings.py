"""Where settings come from: flags, then `SAGA_ACTORS_*`, then `[tool.saga-actors]` in pyproject.toml."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

TABLE = "tool.saga-actors"

KEYS: dict[str, tuple[type, ...]] = {
    "journal": (str,),
    "app": (str, list),
    "telemetry": (str, list),
    "workers": (int,),
    "threads": (int,),
    "max-unfinished": (int,),
    "context-limit": (int,),
    "drain": (str, int, float),
}
"""What the table may have, by the name of the option, and as what."""


def enter(ctx: click.Context, folder: str) -> None:
    """Make `folder` the application's: first on the path, and its table the default of every option."""
    here = os.path.abspath(folder)
    if here not in sys.path[:1]:
        sys.path.insert(0, here)
    ctx.default_map = {**read(Path(here)), **(ctx.default_map or {})}


def read(folder: Path) -> dict[str, Any]:
    """The table of this folder's pyproject.toml, by the names of parameters; nothing if there is none."""
    file = folder / "pyproject.toml"
    try:
        tool = tomllib.loads(file.read_text()).get("tool", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{file} cannot be read: {error}") from None
    table = tool.get("saga-actors", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise click.UsageError(f"{file}: [{TABLE}] is {table!r}; expected a table")
    return {key.replace("-", "_"): _checked(file, key, value) for key, value in table.items()}


def _checked(file: Path, key: str, value: Any) -> Any:
    if key not in KEYS:
        raise click.UsageError(
            f"{file}: [{TABLE}] has {key!r}, which is no setting; expected some of {', '.join(KEYS)}"
        )
    if not isinstance(value, KEYS[key]) or isinstance(value, bool):
        raise click.UsageError(f"{file}: {key} of [{TABLE}] is {value!r}, which it cannot be")
    if key == "journal":
        return _beside(file, value)
    if key == "drain":
        return value if isinstance(value, str) else f"{value}s"
    return [value] if isinstance(value, str) else value


def _beside(file: Path, url: Any) -> str:
    """A journal's relative path is one from the file that names it."""
    scheme, separator, path = str(url).partition(":///")
    if not separator or path.startswith(("/", "%2F", "%2f")):
        return str(url)
    return f"{scheme}:///{quote(str(file.parent))}/{path}"
