"""Where other processes find a saga's class."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from saga_actors.definition import (
    Saga,
    SagaMeta,
    Source,
    importable,
    is_loading_for_node,
    loading_for_node,
    saga_named,
    step,
)
from saga_actors.errors import DefinitionError


def nothing(order: Any) -> None:
    """A step, or an undo, that does nothing."""


def run_python(*arguments: str, cwd: Path, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Importable(Saga, name="test-importable"):
    charge = step(nothing)

    class Inner(Saga):
        charge = step(nothing)


def test_a_class_of_a_module_is_found_by_its_name() -> None:
    """A class at the top of a module, or nested in one, is imported from there."""
    assert importable(Importable) == Source(__name__, "Importable")
    assert importable(Importable.Inner) == Source(__name__, "Importable.Inner")


def test_what_other_processes_cannot_import_is_refused() -> None:
    """A class in a function, one that is not bound to its name, and an abstract one are refused with what to do."""

    class Local(Saga):
        charge = step(nothing)

    lost = SagaMeta("Lost", (Saga,), {"__module__": __name__, "__qualname__": "Lost", "charge": step(nothing)})
    for saga, message in [
        (Local, "is made in a function, .*; move the class into a module of its own"),
        (lost, "bind the class to its own name there"),
        (Saga, "is abstract"),
        (int, "expected a class that inherits from Saga"),
    ]:
        with pytest.raises(DefinitionError, match=message):
            importable(saga)


SCRIPT = """
from saga_actors.definition import Saga, importable, step
from saga_actors.errors import DefinitionError

class PlaceOrder(Saga):
    charge = step(lambda order: None)

if __name__ in ("__main__", "__mp_main__"):
    print(PlaceOrder.definition.name)
    try:
        print(importable(PlaceOrder))
    except DefinitionError as error:
        print(error)
"""


def test_a_script_is_known_by_its_files_stem(tmp_path: Path) -> None:
    """A script has the name under which others load it, and its folder for `sys.path`; never `__main__`."""
    (tmp_path / "place_order.py").write_text(SCRIPT)
    name, source = run_python("place_order.py", cwd=tmp_path).splitlines()
    assert name == "place_order:PlaceOrder"
    assert source == str(Source("place_order", "PlaceOrder", str(tmp_path)))


def test_a_module_that_is_run_is_known_by_its_name(tmp_path: Path) -> None:
    """After `python -m shop.place_order` the class is `shop.place_order`'s, and needs no folder."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "place_order.py").write_text(SCRIPT)
    name, source = run_python("-m", "shop.place_order", cwd=tmp_path).splitlines()
    assert name == "shop.place_order:PlaceOrder"
    assert source == str(Source("shop.place_order", "PlaceOrder"))


@pytest.mark.slow
def test_a_script_in_a_spawned_child_has_the_same_name(tmp_path: Path) -> None:
    """multiprocessing loads a script again as `__mp_main__`; its sagas keep their names."""
    spawn = """
import multiprocessing
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=print, args=("",))
    child.start()
    child.join()
"""
    (tmp_path / "place_order.py").write_text(SCRIPT + spawn)
    lines = [line for line in run_python("place_order.py", cwd=tmp_path).splitlines() if line]
    assert sorted(lines) == sorted(
        2 * ["place_order:PlaceOrder", str(Source("place_order", "PlaceOrder", str(tmp_path)))]
    )


@pytest.mark.parametrize("file", ["place.order.py", "place_order", "queue.py", "__main__.py"])
def test_a_script_that_cannot_be_imported_is_refused(file: str, tmp_path: Path) -> None:
    """A file whose stem is no module name, or another module's, is refused with what to call it."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / file).write_text(SCRIPT)
    argument = "scripts" if file == "__main__.py" else f"scripts/{file}"
    assert "call the file something.py" in run_python("-P", argument, cwd=tmp_path)


@pytest.mark.slow
def test_what_is_typed_in_is_refused(tmp_path: Path) -> None:
    """A class from stdin or a REPL stays in `__main__`, and is refused with what to do."""
    for said in (run_python("-", cwd=tmp_path, stdin=SCRIPT), run_python("-c", SCRIPT, cwd=tmp_path)):
        name, refusal = said.splitlines()
        assert name == "__main__:PlaceOrder"
        assert "typed into an interpreter or read from stdin" in refusal
        assert "move the class into a module of its own" in refusal


def test_a_reloaded_module_is_served_in_its_newest_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reloading a module replaces its sagas and refuses nothing."""
    (tmp_path / "reloaded_for_test.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("reloaded_for_test")
    old = module.PlaceOrder
    try:
        new = importlib.reload(module).PlaceOrder
        assert new is not old
        assert saga_named("reloaded_for_test:PlaceOrder") is new
        assert importable(module.PlaceOrder) == Source("reloaded_for_test", "PlaceOrder")
    finally:
        del sys.modules["reloaded_for_test"]


def test_loading_for_a_node_is_known_while_it_lasts() -> None:
    """The flag is up inside the block, in every thread, nested or not, and down after an error too."""
    seen: list[bool] = []

    def load() -> None:
        with loading_for_node():
            with loading_for_node():
                pass
            thread = threading.Thread(target=lambda: seen.append(is_loading_for_node()))
            thread.start()
            thread.join()
            raise ImportError("no such module")

    with pytest.raises(ImportError):
        load()
    assert seen == [True]
    assert not is_loading_for_node()
