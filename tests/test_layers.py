"""The arrows of the house: imports point downwards, heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import perfdb

PACKAGE = Path(perfdb.__file__).parent

# The layers of the parts of perfdb; a part is a module or a folder directly below perfdb/.
LAYERS = {
    "errors": -2,  # everyone may raise
    "guard": -2,
    "sharing": -1.5,  # what is made in a home
    "stopping": -1,
    "surroundings": -1,
    "vocabulary": -1,
    "version": -1,
    "outputs": -1,
    "records": 0.6,
    "critical_path": 0,
    "encoding": 0,
    "text": 0,
    "tokens": 0,
    "measures": 0.5,
    "toml": 0,
    "trust": 0,
    "gate": 0,  # the dashboard and the pathway's API ask the same guards
    "search": 0.5,
    "settings": 0.8,
    "filters": 1,
    "recording": 1,
    "store": 2,
    "lake": 2.2,  # a History opens one, a worker pushes to one
    "__pyinstaller": 2,
    "analysis": 1.5,  # pure: the store reads what it looks at
    "alerts": 2.5,
    "charts": 3,
    "pages": 3,
    "worker": 3,
    "maintenance": 3.5,  # a History imports reports with it
    "recorder": 4,
    "history": 4,
    "testing": 5,
    "integrations": 5,
    "cli": 6,
    "web": 6,
    "pathway": 6,
    "starting": 7,
    "__main__": 6.5,
    "_shim": 6,  # what is installed beside perfdb
}
# `from perfdb import NAME`: what is not a module comes from the public face, which stands above layer 5.
FACE = 5.5

# Only the store imports these, late or not; for the type of a connection anybody may.
SQL = {"sqlalchemy", "alembic"}
TYPES = {"sqlalchemy.Connection", "sqlalchemy.Engine"}
PURE = {"pandas", "numpy", "matplotlib", "scipy"}


def nodes_of(tree: ast.AST, *, types: bool) -> Iterator[ast.AST]:
    """Yield all nodes, those under TYPE_CHECKING only if ``types``."""
    yield tree
    is_for_types = isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING"
    for child in tree.orelse if is_for_types and not types else ast.iter_child_nodes(tree):
        yield from nodes_of(child, types=types)


def imports_of(module: Path, *, types: bool = True) -> Iterator[str]:
    """Yield every module that a file imports, in functions and, if ``types``, under TYPE_CHECKING too."""
    own = ".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts)
    for node in nodes_of(ast.parse(module.read_text()), types=types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{own}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def parts() -> Iterator[tuple[str, Path]]:
    for module in sorted(PACKAGE.rglob("*.py")):
        part = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part not in ("__init__", "migrations"):
            yield part, module


def arrows() -> Iterator[tuple[str, str, Path, str]]:
    """Yield (part, part it imports, file, imported name) for every import within perfdb."""
    for part, module in parts():
        for name in imports_of(module):
            words = name.split(".")
            if words[0] != "perfdb":
                continue
            target = words[1] if len(words) > 1 else ""
            known = target in LAYERS or (PACKAGE / target).is_dir() or (PACKAGE / f"{target}.py").exists()
            yield part, target if target and known else "the public face", module, name


def test_every_part_has_its_layer() -> None:
    assert {part for part, _ in parts()} <= set(LAYERS)


def test_the_table_of_rooms_names_every_part() -> None:
    """What stands nowhere in it is found by nobody; each row has one room, or lists its modules."""
    table = (
        (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text().partition("## Where a line belongs")[2]
    )
    rows = [line.split("|")[2] for line in table.partition("\n## ")[0].splitlines() if line.startswith("|")]
    named = set(re.findall(r"`(\w+)(?:\.py|/)`", " ".join(rows)))
    assert {part for part, _ in parts()} - named == set()


def test_imports_point_only_downwards() -> None:
    wrong = [
        f"{module.relative_to(PACKAGE)} imports {name}"
        for part, target, module, name in arrows()
        if part != target and LAYERS.get(target, FACE) >= LAYERS[part]
    ]
    assert wrong == []


def test_the_bare_package_is_imported_only_from_above() -> None:
    """`import perfdb` below layer 6 would be an arrow that runs back up."""
    wrong = []
    for part, module in parts():
        if LAYERS[part] >= 6:
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "perfdb"
            ):
                wrong.append(f"{module.relative_to(PACKAGE)} uses perfdb.{node.attr}")
    assert wrong == []


def test_only_the_store_speaks_sql() -> None:
    wrong = [
        f"{module.relative_to(PACKAGE)} imports {name}"
        for part, module in parts()
        for types in (False, True)
        for name in imports_of(module, types=types)
        if name.split(".")[0] in SQL and part != "store"
        if not types or name not in TYPES
    ]
    assert wrong == []


def test_what_runs_in_the_hosts_threads_needs_the_standard_library_and_the_monitors_psutil_and_pynvml() -> (
    None
):
    outside = {
        name.split(".")[0] for part, module in parts() if LAYERS[part] <= 1 for name in imports_of(module)
    } - set(sys.stdlib_module_names)
    assert outside <= {"perfdb", "psutil", "pynvml"}


def test_the_worker_needs_no_pandas() -> None:
    for part, module in parts():
        if part in ("worker", "recorder"):
            assert PURE.isdisjoint(name.split(".")[0] for name in imports_of(module)), module


TESTS = Path(__file__).parent
# By question or by fault, and what holds for the whole house:
OF_THE_WHOLE = set("answers contract databases faults test_docs.py test_layers.py test_packaging.py".split())


def modules_named_by(test: Path) -> list[str]:
    """Return the modules that the end of a test file's docstring names: ``Of: store/rows.py, …``."""
    named = (ast.get_docstring(ast.parse(test.read_text())) or "").rpartition("Of: ")
    return named[2].rstrip(".").replace("\n", " ").split(", ") if named[1] else []


def test_every_module_has_tests_that_can_be_found() -> None:
    """A file of its name in the room that mirrors its own, or one that names it; else one for its package."""
    found = {name for test in TESTS.rglob("test_*.py") for name in modules_named_by(test)}
    missing = [
        name
        for module in PACKAGE.rglob("*.py")
        if "migrations" not in (name := module.relative_to(PACKAGE).as_posix()) and name not in found
        if module.stem != "__init__" and not (TESTS / name).with_name(f"test_{module.name}").exists()
        if not (TESTS / name).parent.with_name(f"test_{module.parent.name}.py").exists()
    ]
    assert missing == []
    assert [name for name in found if not (PACKAGE / name).exists()] == []


def test_every_test_file_stands_beside_what_it_tests() -> None:
    """It is in the room of its module and called as it is, or says which modules it is of."""
    astray = []
    for test in TESTS.rglob("test_*.py"):
        name = test.relative_to(TESTS)
        own = PACKAGE / name.parent / name.stem.removeprefix("test_")
        is_one = own.is_dir() or own.with_suffix(".py").exists() or modules_named_by(test)
        if name.parts[0] not in OF_THE_WHOLE and not (own.parent.is_dir() and is_one):
            astray.append(name.as_posix())
    assert astray == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not even for types: a circle of files is one noun that was cut, or an arrow that runs back up."""
    modules = {
        ".".join(m.relative_to(PACKAGE.parent).with_suffix("").parts): m for m in PACKAGE.rglob("*.py")
    }
    left = {
        name: {each if each in modules else each.rpartition(".")[0] for each in imports_of(module)}
        & modules.keys()
        for name, module in modules.items()
    }
    while ready := {name for name, below in left.items() if not below & left.keys()}:
        left = {name: below for name, below in left.items() if name not in ready}
    assert sorted(left) == []


def modules_loaded_by(code: str, folder: Path) -> set[str]:
    report = "; import sys; print(' '.join({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"pandas", "matplotlib", "sqlalchemy", "alembic", "numpy", "click", "jinja2", "markupsafe"}


def test_import_and_first_step_load_nothing_heavy(tmp_path: Path) -> None:
    begin = (
        "import perfdb; tracker = perfdb.create_tracker(console=False); tracker.start_pipeline(); "
        "step = tracker.step('first'); step.start()"
    )
    # The worker, on its own thread, may load SQLAlchemy a moment later: what counts is the caller's way here.
    watched = (
        "import sys, threading; heavy = []; main = threading.get_ident()\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if threading.get_ident() == main: heavy.append(name.split('.')[0])\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"{begin}\n"
        f"print(sorted(set(heavy) & {HEAVY!r}))\n"
        "tracker.end_pipeline()"
    )
    done = subprocess.run(
        [sys.executable, "-c", watched], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == "[]"


def test_importing_perfdb_loads_nothing_heavy(tmp_path: Path) -> None:
    assert modules_loaded_by("import perfdb", tmp_path).isdisjoint(HEAVY)


def test_the_help_costs_click_alone(tmp_path: Path) -> None:
    code = "import perfdb.cli\ntry: perfdb.cli.main(['--help'])\nexcept SystemExit: pass\npass"
    assert modules_loaded_by(code, tmp_path).isdisjoint(HEAVY - {"click"})


def test_no_constant_is_a_power() -> None:
    """CPython computes it while it compiles, and drops what a signal handler raises then: Ctrl-C is lost."""
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Pow)
        and all(
            isinstance(each, ast.Constant) and type(each.value) is int for each in (node.left, node.right)
        )
    ]
    assert found == []


def test_no_generator_is_left_unfinished_in_the_hosts_threads() -> None:
    """CPython 3.12 enters it once more to close it, and drops what a signal handler raises there."""
    names = "recording guard recorder search settings surroundings toml trust".split()
    elsewhere = {"journal.py", "report_reader.py"}  # for the worker and for readers
    found = [
        f"{module.relative_to(PACKAGE)}:{node.lineno}"
        for part, module in parts()
        if part in names and module.name not in elsewhere
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("all", "any", "next")
        if node.args and isinstance(node.args[0], ast.GeneratorExp)
    ]
    assert found == []
