"""The settings of perfdb as one frozen value.

They come, in rising order, from the nearest ``perfdb.toml`` or ``pyproject.toml`` with
``[tool.perfdb]`` (``PERFDB_CONFIG`` names another file), from ``PERFDB_*`` variables and from
arguments. Whatever perfdb does not understand is a SettingsError at once, with file and line.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from perfdb.errors import SettingsError
from perfdb.toml_tables import Check, Table, nearest, parse, shown_value

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

HOME_FOLDER = "performance_tracking"
DATABASE_FILE = "perfdb.sqlite3"


_NO_TABLE = Table({})


class Settings:
    """What perfdb was told, complete and checked; frozen.

    Paths and the path of an SQLite URL are absolute, so that a later ``chdir`` of the host moves
    nothing; ``shown_path`` gives the short form for people. ``console`` None means: as the entry
    point likes. ``pathway``, ``alerts`` and ``retention`` are tables as read, with their lines, for
    the parts that understand them.
    """

    __slots__ = (
        "alerts", "config_file", "console", "database_url", "disabled", "fsync", "home", "mode_attributes",
        "monitor", "pathway", "pipeline", "redact", "report_dir", "retention", "strict", "wait_s",
    )  # fmt: skip

    home: Path
    database_url: str
    report_dir: Path
    pipeline: str
    mode_attributes: tuple[str, ...]
    console: bool | None
    monitor: bool
    strict: bool
    wait_s: float
    fsync: bool
    disabled: bool
    redact: tuple[str, ...]
    pathway: Table
    alerts: Table
    retention: Table
    config_file: Path | None

    # by hand, because dataclasses cost as much to import as all the rest of a first step
    def __init__(
        self,
        *,
        home: Path,
        database_url: str,
        report_dir: Path,
        pipeline: str = "design",
        mode_attributes: tuple[str, ...] = ("fast_mode",),
        console: bool | None = None,
        monitor: bool = True,
        strict: bool = False,
        wait_s: float = 2.0,
        fsync: bool = False,
        disabled: bool = False,
        redact: tuple[str, ...] = (),
        pathway: Table = _NO_TABLE,
        alerts: Table = _NO_TABLE,
        retention: Table = _NO_TABLE,
        config_file: Path | None = None,
    ) -> None:
        values = locals()
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen: make new ones with replaced({name}=…)")

    def replaced(self, **changes: Any) -> Settings:
        """Return the same settings with some values changed; they are not checked again."""
        return Settings(**{name: getattr(self, name) for name in self.__slots__} | changes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = (f"{n}={getattr(self, n)!r}" for n in self.__slots__ if n != "database_url")  # a password
        return f"Settings({', '.join(shown)})"


def load(
    *, environ: Mapping[str, str] | None = None, cwd: str | Path | None = None, **overrides: object
) -> Settings:
    """Return the settings for a writer.

    Args:
        environ: the environment; that of the process when None.
        cwd: the folder that relative paths and the search for a file start from.
        overrides: any field of Settings; None means not given.

    Raises:
        SettingsError: an unknown key or variable, a wrong type, a value out of range, a file
            that is not TOML, or a ``PERFDB_CONFIG`` that does not exist.
    """
    return _load(os.environ if environ is None else environ, cwd, overrides, find_home=False)


def load_for_reading(
    *, environ: Mapping[str, str] | None = None, cwd: str | Path | None = None, **overrides: object
) -> Settings:
    """Return the settings for a reader: as ``load``; an unset home is looked for in parent folders too."""
    return _load(os.environ if environ is None else environ, cwd, overrides, find_home=True)


def shown_path(path: Path) -> str:
    """Return the path for people and API answers: relative when it lies below the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def boolean(value: object) -> bool:
    """Accept true and false only: 1 and "yes" are mistakes in a file."""
    if isinstance(value, bool):
        return value
    raise ValueError("must be true or false")


def text(value: object) -> str:
    """Accept one line of 1 to 200 printable characters."""
    if isinstance(value, str) and value.strip() and len(value) <= 200 and value.isprintable():
        return value
    raise ValueError("must be a text of one line")


def texts(value: object) -> tuple[str, ...]:
    """Accept an array of texts."""
    if isinstance(value, list | tuple):
        return tuple(text(item) for item in value)
    raise ValueError('must be an array of texts like ["one", "two"]')


def number(low: float, high: float = math.inf) -> Check:
    """Return a check for a finite number from ``low`` to ``high``; a boolean is no number."""
    limits = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"

    def check(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"must be a number {limits}")
        if low <= value <= high and abs(value) < 1e300:
            return float(value)
        raise ValueError(f"must be a number {limits}")

    return check


def whole(low: int, high: int) -> Check:
    """Return a check for an integer from ``low`` to ``high``; a boolean is no integer."""

    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"must be a whole number from {low} to {high}")

    return check


def _folder(value: object) -> Path:
    if isinstance(value, str | os.PathLike) and str(value).strip() and "\0" not in str(value):
        return Path(value).expanduser()
    raise ValueError("must be the path of a folder")


def _database(value: object) -> str:
    if not isinstance(value, str) or "://" not in value or "\0" in value:
        raise ValueError("must be a database URL such as sqlite:///perfdb.sqlite3 or postgresql://host/name")
    scheme, _, rest = value.partition("://")
    backend = scheme.partition("+")[0]
    if backend not in ("sqlite", "postgresql"):
        raise ValueError("must start with sqlite:/// or postgresql://")
    if backend == "sqlite" and rest.partition("?")[0].lstrip("/") in ("", ":memory:"):
        raise ValueError("must name a database file, because nobody else could read one in memory")
    if backend == "sqlite" and not rest.startswith("/"):
        raise ValueError("must have three slashes before a relative path and four before an absolute one")
    return value


def _table(value: object) -> Table:
    if isinstance(value, Table):
        return value
    if isinstance(value, Mapping):
        return Table(value)
    raise ValueError("must be a table")


def _boolean_word(value: str) -> object:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    return words.get(value.strip().lower(), value)


def _number_word(value: str) -> object:
    try:
        return float(value)
    except ValueError:
        return value


def _list_word(value: str) -> object:
    return [item.strip() for item in value.split(",") if item.strip()]


_CHECKS: dict[str, Check] = {
    "home": _folder,
    "database_url": _database,
    "report_dir": _folder,
    "pipeline": text,
    "mode_attributes": texts,
    "console": boolean,
    "monitor": boolean,
    "strict": boolean,
    "wait_s": number(0, 3600),
    "fsync": boolean,
    "disabled": boolean,
    "redact": texts,
    "pathway": _table,
    "alerts": _table,
    "retention": _table,
}
_TABLES = ("pathway", "alerts", "retention")
_FROM_WORD: dict[str, Callable[[str], object]] = {
    "home": str,
    "database_url": str,
    "report_dir": str,
    "pipeline": str,
    "mode_attributes": _list_word,
    "console": _boolean_word,
    "monitor": _boolean_word,
    "strict": _boolean_word,
    "wait_s": _number_word,
    "fsync": _boolean_word,
    "disabled": _boolean_word,
    "redact": _list_word,
}


def _load(
    environ: Mapping[str, str], cwd: str | Path | None, overrides: Mapping[str, object], *, find_home: bool
) -> Settings:
    folder = Path(os.path.abspath(cwd or os.curdir))
    given = {name: value for name, value in overrides.items() if value is not None}
    from_environment = _read_environment(environ)
    named = given.pop("config_file", None) or environ.get("PERFDB_CONFIG")
    config_file = _named_file(named, folder) if named else _nearest_file(folder)
    from_file = _read_file(config_file, named=bool(named)) if config_file else {}
    values: dict[str, Any] = {}
    for source, base in (
        (from_file, config_file.parent if config_file else folder),
        (from_environment, folder),
        (_read_arguments(given), folder),
    ):
        values.update(_made_absolute(source, base))
    home = values.setdefault("home", (_existing_home(folder) if find_home else None) or folder / HOME_FOLDER)
    values.setdefault("database_url", sqlite_url(home / DATABASE_FILE))
    values.setdefault("report_dir", home)
    return Settings(config_file=config_file, **values)


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file; characters that mean something in a URL are quoted."""
    quoted = str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"sqlite:///{quoted}"


def _made_absolute(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    absolute = dict(values)
    for name in ("home", "report_dir"):
        if name in absolute:
            absolute[name] = Path(os.path.abspath(base / absolute[name]))
    url = absolute.get("database_url", "")
    scheme, _, path = url.partition(":///")
    if scheme.startswith("sqlite") and path and not path.startswith(("/", "file:")):
        absolute["database_url"] = f"{scheme}:///{os.path.abspath(base / path)}"
    return absolute


def _existing_home(folder: Path) -> Path | None:
    for parent in (folder, *folder.parents):
        home = parent / HOME_FOLDER
        # a folder of that name may be anything: the seed's own package, for one
        if os.path.isfile(home / DATABASE_FILE) or os.path.isdir(home / "journal"):
            return home
    return None


def _named_file(named: object, folder: Path) -> Path:
    if not isinstance(named, str | os.PathLike):
        raise SettingsError(f"'config_file' must be the path of a file, not {shown_value(named)}")
    path = Path(os.path.abspath(folder / Path(named).expanduser()))
    if not os.path.isfile(path):
        raise SettingsError(f"PERFDB_CONFIG names {str(path)!r}, which is not a file: correct it or unset it")
    return path


def _nearest_file(folder: Path) -> Path | None:
    for parent in (folder, *folder.parents):
        if os.path.isfile(parent / "perfdb.toml"):
            return parent / "perfdb.toml"
        pyproject = parent / "pyproject.toml"
        if os.path.isfile(pyproject) and _mentions_perfdb(pyproject):
            return pyproject
    return None


def _mentions_perfdb(pyproject: Path) -> bool:
    content = _content(pyproject)
    if "perfdb" not in content:
        return False  # the parser costs several milliseconds; most files need none
    tool = parse(content, source=shown_path(pyproject)).get("tool")
    return isinstance(tool, Mapping) and "perfdb" in tool


def _read_file(path: Path, *, named: bool) -> dict[str, Any]:
    below = ("tool", "perfdb") if path.name == "pyproject.toml" else ()
    if below and named and not _mentions_perfdb(path):
        raise SettingsError(f"PERFDB_CONFIG names {str(path)!r}, which has no [tool.perfdb]")
    table = parse(_content(path), source=shown_path(path), below=below)
    values = table.read(_CHECKS)
    return values | {name: table.table(name) for name in _TABLES if name in table}


def _content(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{shown_path(path)}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(f"{shown_path(path)}, line {line}: not valid TOML: not UTF-8") from None


_OTHERS = ("PERFDB_CONFIG", "PERFDB_STAND_IN", "PERFDB_ALLOW_HOSTS")  # the last two are the pathway's API's


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {f"PERFDB_{name.upper()}": name for name in _FROM_WORD}
    values: dict[str, Any] = {}
    for variable, word in environ.items():
        if not variable.startswith("PERFDB_") or variable in _OTHERS:
            continue
        if variable not in known:
            names = [name.upper() for name in (*_FROM_WORD, "config")]
            hint = nearest(variable.removeprefix("PERFDB_"), names, prefix="PERFDB_")
            raise SettingsError(f"{variable}: unknown environment variable{hint}")
        if not word.strip():
            continue  # an empty variable is the shell's way to say unset
        name = known[variable]
        try:
            values[name] = _CHECKS[name](_FROM_WORD[name](word))
        except ValueError as error:
            raise SettingsError(f"environment: {variable} {error}, not {shown_value(word)}") from None
    return values


def _read_arguments(given: Mapping[str, object]) -> dict[str, Any]:
    return Table(given).read(_CHECKS)
