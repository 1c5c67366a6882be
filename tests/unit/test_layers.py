"""The layers: who may import whom, read off the source, with what is imported in a function or for its types only."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs

import saga_actors

PACKAGE = Path(saga_actors.__file__).parent

PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
TABLE = PACKAGE.parent / "docs" / "architecture.md"

DOMAIN = 0
ROWS = re.findall(r"^\| (\d) \w+ \| (.+?) \|", TABLE.read_text(), re.MULTILINE)
LAYER_OF = {name: int(layer) for layer, names in ROWS for name in re.findall(r"`(\w+)`", names)}

PURE_NAMES = (
    "__future__ attrs collections contextlib contextvars dataclasses datetime enum functools hashlib inspect json math "
    "operator types typing typing_extensions uuid"
)
PURE = frozenset(PURE_NAMES.split())
"""What a module of the domain may import: nothing that reads a file, a clock or a die."""

BESIDE_PURE = {
    "definition": {"sys"},  # is the class found in its module?
    "registry": {"gc", "threading", "weakref"},  # the one thing that a process has one of
    "source": {"os", "sys"},  # the path of a script
}

IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "urandom", "open", "input", "print"}


@attrs.frozen
class Module:
    """One file of the package; `name` is without the package's."""

    name: str
    tree: ast.Module

    @property
    def layer(self) -> int:
        return LAYER_OF[self.name.partition(".")[0]]

    @property
    def imported(self) -> set[str]:
        """The full names of what it imports, wherever in the file."""
        return {name for node in ast.walk(self.tree) for name in _imported_by(node)}

    @property
    def ours(self) -> set[str]:
        """What it imports of the package, without the package's name."""
        return {name.partition(".")[2] for name in self.imported if name.partition(".")[0] == PACKAGE.name}

    @property
    def foreign(self) -> set[str]:
        """The packages that it imports from elsewhere."""
        return {name.partition(".")[0] for name in self.imported} - {PACKAGE.name}


def _imported_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "a relative import"
        assert node.module is not None
        yield from (_full_name(node.module, alias.name) for alias in node.names)


def _full_name(module: str, name: str) -> str:
    """`from saga_actors import node` imports the module; `from saga_actors.node import Watchdog` does, too."""
    path = PACKAGE.parent.joinpath(*module.split("."), name)
    return f"{module}.{name}" if path.is_dir() or path.with_suffix(".py").is_file() else module


def _modules() -> list[Module]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name != "__init__":
            found.append(Module(name.removesuffix(".__init__"), ast.parse(path.read_text(), str(path))))
    return found


MODULES = _modules()
DOMAIN_MODULES = [module for module in MODULES if LAYER_OF.get(module.name) == DOMAIN]


def test_every_module_has_its_layer() -> None:
    """The table in docs/architecture.md, from which this is read, has every module of the package, and no other."""
    assert {module.name.partition(".")[0] for module in MODULES} == LAYER_OF.keys()


def test_imports_point_down_only() -> None:
    """No module imports one of a higher layer, or the package's root, which is above them all."""
    assert _offenders(MODULES, _upward) == {}


def _upward(module: Module) -> set[str]:
    return {name or "saga_actors" for name in module.ours if not name or _layer(name) > module.layer}


def _layer(name: str) -> int:
    return LAYER_OF[name.partition(".")[0]]


def test_the_domain_imports_no_input_or_output() -> None:
    """No file, socket, clock, chance, thread or database is in its reach."""
    assert _offenders(DOMAIN_MODULES, _impure) == {}


def _impure(module: Module) -> set[str]:
    return module.foreign - PURE - BESIDE_PURE.get(module.name, set())


def test_the_domain_calls_for_no_time_or_chance() -> None:
    """Nor is one in what it does import: `datetime.now()` is a clock, and `uuid4()` a die."""
    assert _offenders(DOMAIN_MODULES, _impure_calls) == {}


def _impure_calls(module: Module) -> set[str]:
    return {_called(node) for node in ast.walk(module.tree) if isinstance(node, ast.Call)} & IMPURE_CALLS


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_only_the_actors_know_thespian_and_only_five_modules_its_internals() -> None:
    """`thespian.actors` is imported below `actors/`; `thespian.system` by those of transport, log and saga system."""
    assert _offenders(MODULES, _thespian) == {}


INSIDERS = ("actors.transport", "actors.doorway", "actors.exchange", "actors.saga_system", "actors.thespian_log")


def _thespian(module: Module) -> set[str]:
    if module.name in INSIDERS:
        return set()
    allowed = {"thespian.actors"} if module.name.startswith("actors.") else set()
    return {name for name in module.imported if name.startswith("thespian")} - allowed


def test_one_adapter_of_the_journal_does_not_know_another() -> None:
    """SQLite and memory have the port and the records in common, and nothing else; only `journal` itself knows both."""
    assert _offenders([module for module in MODULES if module.name != "journal"], _other_adapters) == {}


def _other_adapters(module: Module) -> set[str]:
    return module.ours & {"journal.sqlite", "journal.memory"} - {module.name}


def test_only_the_sqlite_adapter_knows_the_database() -> None:
    """`apsw` is imported by the modules of the SQLite journal."""
    knowing = {module.name for module in MODULES if "apsw" in module.foreign}
    assert knowing
    assert all(name.startswith("journal.sqlite") for name in knowing)


def test_nothing_is_imported_that_is_not_a_dependency() -> None:
    """Beside the standard library, the package imports what pyproject.toml names; but for pytest, which imports us."""
    named = {re.split("[^a-z_]", dependency)[0] for dependency in PROJECT["project"]["dependencies"]}
    foreign = {name for module in MODULES for name in module.foreign if module.name != "pytest_plugin"}
    assert foreign - sys.stdlib_module_names <= named


def _offenders(modules: Iterable[Module], offence: Callable[[Module], set[str]]) -> dict[str, set[str]]:
    found = {module.name: offence(module) for module in modules}
    return {name: offences for name, offences in found.items() if offences}
