"""What is declared is what is there: dependencies, entry points, files that must travel with the package.

Of: version.py.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points, packages_distributions, version
from pathlib import Path
from typing import Any

import perfdb

ROOT = Path(__file__).resolve().parents[1]
COMES_ALONG = {"numpy", "starlette", "pydantic", "markupsafe"}  # pandas, fastapi and jinja2 show their types
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = ("dev", "docs", "test-hosts")  # extras that nothing in the package imports


def names_in(requirements: list[str]) -> Iterator[str]:
    """Yield the distributions of requirements; perfdb[extra] stands for what the extra lists."""
    for requirement in requirements:
        own = re.fullmatch(r"perfdb\[([^]]+)\]", requirement)
        if own is None:
            yield re.split(r"[\[<>=!~ ;]", requirement)[0].lower().replace("_", "-")
            continue
        for extra in own[1].split(","):
            yield from names_in(PROJECT["optional-dependencies"][extra.strip()])


def imported_by(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for module in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                found.update({alias.name.split(".")[0]: module for alias in node.names})
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found[node.module.split(".")[0]] = module
    return {name: module for name, module in found.items() if name not in sys.stdlib_module_names}


def undeclared(imported: dict[str, Path], declared: set[str]) -> dict[str, Path]:
    homes = packages_distributions()
    return {
        name: module
        for name, module in imported.items()
        if name not in {"perfdb", "benchmarks", "tests", *COMES_ALONG}
        and not {home.lower().replace("_", "-") for home in homes.get(name, [name])} & declared
    }


def test_the_test_extra_holds_all_that_the_tests_import() -> None:
    extra = PROJECT["optional-dependencies"]["test"]
    declared = set(names_in(PROJECT["dependencies"])) | set(names_in(extra))
    assert undeclared(imported_by(ROOT / "tests"), declared) == {}


def test_every_import_of_the_package_is_declared_somewhere() -> None:
    everything = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        everything += extra
    assert undeclared(imported_by(ROOT / "perfdb"), set(names_in(everything))) == {}


def test_the_lowest_versions_that_are_tried_are_the_lowest_that_are_allowed() -> None:
    project = {**PROJECT["optional-dependencies"], "needed": PROJECT["dependencies"]}
    allowed = {
        requirement["name"].lower(): requirement["version"]
        for extra, listed in project.items()
        if extra not in TOOLS
        for each in listed
        if (requirement := re.match(r"(?P<name>[\w.-]+)(\[\w+\])?>=(?P<version>[\d.]+)", each))
    }
    declared = {name for extra in project for name in names_in(project[extra]) if extra not in TOOLS}
    assert set(allowed) == declared, "every dependency says what its lowest version is"
    ours, _, _ = (ROOT / "tests" / "constraints-lowest.txt").read_text().partition("\n\n")
    tried = dict(line.split("==") for line in ours.splitlines() if not line.startswith("#"))
    assert tried == allowed


def test_the_version_is_said_once() -> None:
    assert version("perfdb") == perfdb.__version__


def test_the_command_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="perfdb")
    module, _, function = script.value.partition(":")
    assert callable(getattr(import_module(module), function))


def test_types_travel_with_the_package() -> None:
    assert (Path(perfdb.__file__).parent / "py.typed").is_file()


def test_pages_travel_with_the_package() -> None:
    web = Path(perfdb.__file__).parent / "web"
    assert list((web.parent / "pages" / "templates").glob("*.html"))
    assert list((web / "templates").glob("*.html"))
    assert list((web / "static").rglob("*.js"))
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["packages"] == ["perfdb"]  # with all that lies in it
    assert list((web / "static").rglob("*.LICENSE")), "what is vendored has its licence beside it"


def test_every_public_name_can_be_had() -> None:
    for name in perfdb.__all__:
        assert getattr(perfdb, name) is not None
    assert sorted(perfdb.__all__) == list(perfdb.__all__)
