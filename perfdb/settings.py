"""The settings of perfdb as one frozen value.

They come, in rising order, from the nearest ``perfdb.toml`` or ``pyproject.toml`` with
``[tool.perfdb]`` (``PERFDB_CONFIG`` names another file), from ``PERFDB_*`` variables and from
arguments. Whatever perfdb does not understand in its own files, variables and arguments is a SettingsError
at once, with file and line; what others put into the environment is passed by, with a warning.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from perfdb.errors import SettingsError
from perfdb.guard import raise_foreign
from perfdb.search import DATABASE_FILE as DATABASE_FILE
from perfdb.search import (
    HOME_FOLDER,
    SHARED_FILE,
    Search,
    decoded,
    open_file,
    printable,
    table_of_pyproject,
)
from perfdb.search import shown_path as shown_path
from perfdb.sharing import share_home
from perfdb.surroundings import is_file, variables
from perfdb.toml import MOST_BYTES, Check, Table, nearest, parse, shown_value
from perfdb.trust import Trust, group_id
from perfdb.vocabulary import BACKENDS

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

OTHER_VARIABLES = (  # beside those of the settings; whatever else begins with PERFDB_ is a warning
    "PERFDB_CONFIG",  # the settings file
    "PERFDB_ARCHIVE",  # the lake that perfdb archive pushes to
    "PERFDB_DASK",  # the cluster that answers for a lake
    "PERFDB_CONTEXT",  # the session that a process joins
    "PERFDB_HOST",  # the name of this machine: recording/environment.py
    "PERFDB_STAND_IN",  # the reference pipeline's API without its services
    "PERFDB_ALLOW_HOSTS",  # names that API answers to
    "PERFDB_PATHWAY_TOKEN",  # what its clients must show
)
_MOST_NAMED = 10

_NO_TABLE = Table({})


class Settings:
    """The settings in force, complete and checked; frozen.

    Paths and the path of an SQLite URL are absolute, so that a later ``chdir`` of the host moves nothing;
    ``shown_path`` gives the short form for people. ``console`` None leaves it to the entry point.
    ``pathway``, ``alerts``, ``measures``, ``retention``, ``prices``, ``otlp``, ``archive`` and
    ``views`` are tables as read, with their lines, for the parts that understand them. ``home_named`` says
    that the home was named explicitly and may belong to another user; ``warnings`` say what was ignored,
    ``closed_home`` a folder above that may be a home.
    """

    __slots__ = (
        "alerts",
        "archive",
        "closed_home",
        "config_file",
        "console",
        "database_url",
        "disabled",
        "fsync",
        "home",
        "home_named",
        "measures",
        "mode_attributes",
        "monitor",
        "otlp",
        "pathway",
        "pipeline",
        "prices",
        "redact",
        "report_dir",
        "retention",
        "shared_group",
        "strict",
        "views",
        "wait_s",
        "warnings",
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
    measures: Table
    retention: Table
    prices: Table
    otlp: Table
    archive: Table
    views: Table
    config_file: Path | None
    shared_group: str | None
    home_named: bool
    warnings: tuple[str, ...]
    closed_home: Path | None

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
        measures: Table = _NO_TABLE,
        retention: Table = _NO_TABLE,
        prices: Table = _NO_TABLE,
        otlp: Table = _NO_TABLE,
        archive: Table = _NO_TABLE,
        views: Table = _NO_TABLE,
        config_file: Path | None = None,
        shared_group: str | None = None,
        home_named: bool = True,
        warnings: tuple[str, ...] = (),
        closed_home: Path | None = None,
    ) -> None:
        values = locals()
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    def __reduce__(self) -> tuple[Any, ...]:
        """Be made anew of the same values, as copies and other processes do it."""
        return partial(Settings, **{name: getattr(self, name) for name in self.__slots__}), ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen: make new ones with replaced({name}=…)")

    def replaced(self, **changes: Any) -> Settings:
        """Return the same settings with some values changed; they are not checked again."""
        return Settings(**{name: getattr(self, name) for name in self.__slots__} | changes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        return all([getattr(self, name) == getattr(other, name) for name in self.__slots__])

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = (f"{n}={getattr(self, n)!r}" for n in self.__slots__ if n != "database_url")  # a password
        return f"Settings({', '.join(shown)})"


def load(
    *,
    environ: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    parse: Callable[..., Table] = parse,
    **overrides: object,
) -> Settings:
    """Return the settings for a writer.

    Args:
        environ: the environment; that of the process when None.
        cwd: the folder that relative paths and the search for a file start from.
        parse: ``toml.parse``, or what calls it elsewhere.
        overrides: any field of Settings; None means not given.

    Raises:
        SettingsError: an unknown key or variable, a wrong type, a value out of range, a file
            that is not TOML, or a ``PERFDB_CONFIG`` that does not exist. With ``PERFDB_DISABLED=1`` for
            wrong arguments only.
        OSError: a relative path counts, and the working folder is gone.
    """
    environ = variables() if environ is None else environ
    try:
        return _load(environ, cwd, overrides, parse, find_home=False)
    except (SettingsError, OSError) as error:
        raise_foreign(error)
        arguments = _read_arguments(_given(overrides))  # a mistake in these is reported all the same
        if not _is_off(environ) or arguments.get("disabled") is False:
            raise
        return _nothing(arguments)


def load_for_reading(
    *, environ: Mapping[str, str] | None = None, cwd: str | Path | None = None, **overrides: object
) -> Settings:
    """Return the settings for a reader: as ``load``; an unset home is looked for in parent folders too."""
    try:
        return _load(variables() if environ is None else environ, cwd, overrides, parse, find_home=True)
    except FileNotFoundError as error:
        raise_foreign(error)
        raise SettingsError(str(error)) from None


def output_dir(settings: Settings) -> Path | None:
    """Return the folder of the designs that ``[pathway]`` names; None when it names none."""
    table = settings.pathway
    named = table.get("output_dir")
    if not isinstance(named, str) or not table.source:
        return None
    return Path(os.path.abspath(Path(table.source).parent.joinpath(Path(named).expanduser())))


def trust_for(settings: Settings) -> Trust | None:
    """Return whom to believe about the home and its journals; None when somebody named the home."""
    return None if settings.home_named else Trust(settings.shared_group)


def sources(settings: Settings, *, environ: Mapping[str, str] | None = None) -> list[tuple[str, Any, str]]:
    """Return every setting with its value, safe to show, and who said it: a file, a variable, or a default.

    Args:
        settings: as ``load`` or ``load_for_reading`` gave them.
        environ: the environment; that of the process when None.
    """
    environ = variables() if environ is None else environ
    file = settings.config_file
    table: Mapping[str, Any] = _NO_TABLE if file is None else _named_file(file, None)[1]
    found: list[tuple[str, Any, str]] = []
    for name in _CHECKS:
        value = getattr(settings, name)
        variable = f"PERFDB_{name.upper()}"
        if environ.get(variable, "").strip() and name in _FROM_WORD:
            source = variable
        elif name in table and file is not None:
            source = shown_path(file)
        else:
            source = "default"
        if name in _TABLES:
            value = ", ".join(sorted(value)) or None
        elif name == "database_url":
            value = _without_password(value)
        elif isinstance(value, Path):
            value = shown_path(value)
        elif isinstance(value, tuple):
            value = list(value)
        found.append((name, value, source))
    return found


_SHOWN_OPTIONS = ("", "connect_timeout", "mode", "sslmode", "target_session_attrs", "uri")


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    place, query, options = rest.partition("?")
    if "@" in place:
        user = place.rpartition("@")[0].partition(":")[0]
        place = f"{user}:***@{place.rpartition('@')[2]}"
    harmless = all([option.partition("=")[0] in _SHOWN_OPTIONS for option in options.split("&")])
    return f"{scheme}{separator}{place}{query}{options if harmless else '***'}"


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that a later ``chdir`` does not move.

    Raises:
        SettingsError: it is relative, and the working folder is gone.
    """
    try:
        return Path(os.path.abspath(path))
    except OSError as error:
        raise_foreign(error)
        raise SettingsError(_GONE) from None


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
    if backend not in BACKENDS:
        raise ValueError(f"must start with sqlite:/// or {'://, '.join(BACKENDS[1:])}://")
    if backend == "sqlite" and rest.partition("?")[0].lstrip("/") in ("", ":memory:"):
        raise ValueError("must name a database file, because nobody else could read one in memory")
    if backend == "sqlite" and not rest.startswith("/"):
        raise ValueError("must have three slashes before a relative path and four before an absolute one")
    return value


def _group(value: object) -> str:
    name = text(str(value) if isinstance(value, int) and not isinstance(value, bool) else value)
    try:
        group_id(name)
    except SettingsError:
        raise ValueError("must be a group of this machine") from None
    return name


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
    except ValueError as error:
        raise_foreign(error)
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
    "shared_group": _group,
    "pathway": _table,
    "alerts": _table,
    "measures": _table,
    "retention": _table,
    "prices": _table,
    "otlp": _table,
    "archive": _table,
    "views": _table,
}
_TABLES = ("pathway", "alerts", "measures", "retention", "prices", "otlp", "archive", "views")
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
    "shared_group": str,
}
KNOWN_VARIABLES = frozenset([*(f"PERFDB_{name.upper()}" for name in _FROM_WORD), *OTHER_VARIABLES])


_GONE = "the working folder is gone: go to another one, or name an absolute path, such as PERFDB_HOME"


def _load(
    environ: Mapping[str, str],
    cwd: str | Path | None,
    overrides: Mapping[str, object],
    parse: Callable[..., Table],
    *,
    find_home: bool,
) -> Settings:
    named = overrides.get("config_file") or environ.get("PERFDB_CONFIG")
    arguments = _read_arguments(_given(overrides))
    folder = _working_folder(cwd)
    from_environment = _read_environment(environ)
    group = arguments.get("shared_group", from_environment.get("shared_group"))
    search = Search(folder, Trust(group), parse) if folder else None
    config_file: Path | None = None
    from_file: dict[str, Any] = {}
    if named:
        config_file, table = _named_file(named, folder, parse)
        from_file = _read_file(table)
    elif search is not None and (found := search.settings()) is not None:
        config_file, table = found
        from_file = _read_file(table)
    values: dict[str, Any] = {}
    for source, base in (
        (from_file, config_file.parent if config_file else folder),
        (from_environment, folder),
        (arguments, folder),
    ):
        values.update(_made_absolute(source, base))
    home_named = "home" in values
    if not home_named:
        found_home = search.home() if search and find_home else None
        values["home"] = found_home or _default_home(folder, found=find_home and "database_url" in values)
    values.setdefault("database_url", sqlite_url(values["home"].joinpath(DATABASE_FILE)))
    values.setdefault("report_dir", values["home"])
    if (group := values.get("shared_group")) is not None:
        share_home(values["home"], group_id(group))
    unknown = _unknown_variables(environ, values.get("alerts", _NO_TABLE))
    ignored = search.ignored if search else []
    return Settings(
        config_file=config_file,
        home_named=home_named,
        warnings=tuple(printable(each) for each in (*unknown, *ignored)),
        closed_home=search.closed_home if search else None,
        **values,
    )


def _given(overrides: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in overrides.items() if value is not None and name != "config_file"}


def _is_off(environ: Mapping[str, str]) -> bool:
    word = environ.get("PERFDB_DISABLED", "")
    return bool(word.strip()) and _read_environment({"PERFDB_DISABLED": word})["disabled"] is True


def _nothing(arguments: Mapping[str, Any]) -> Settings:
    """Return settings that record nothing: nothing around us can be wrong then."""
    nowhere = Path(os.devnull)
    places = {"home": nowhere, "database_url": "", "report_dir": nowhere, "disabled": True}
    return Settings(**{**arguments, **places})


def _working_folder(cwd: str | Path | None) -> Path | None:
    try:
        return Path(os.path.abspath(cwd or os.curdir))
    except OSError as error:  # it was deleted
        raise_foreign(error)
        return None


def _default_home(folder: Path | None, *, found: bool) -> Path:
    if folder is not None:
        return folder.joinpath(HOME_FOLDER)
    if found:
        return Path(os.devnull).joinpath(HOME_FOLDER)  # a reader of an explicitly named database needs none
    raise FileNotFoundError(_GONE)


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file; characters that mean something in a URL are quoted."""
    quoted = str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"sqlite:///{quoted}"


def _made_absolute(values: Mapping[str, Any], base: Path | None) -> dict[str, Any]:
    made = dict(values)
    for name in ("home", "report_dir"):
        if name in made:
            made[name] = _below(base, made[name])
    url = made.get("database_url", "")
    scheme, _, path = url.partition(":///")
    if scheme.startswith("sqlite") and path and not path.startswith(("/", "file:")):
        made["database_url"] = f"{scheme}:///{_below(base, Path(path))}"
    return made


def _below(base: Path | None, path: Path) -> Path:
    if base is None and not path.is_absolute():
        raise FileNotFoundError(_GONE)
    return Path(os.path.abspath((base or Path("/")).joinpath(path)))


def _named_file(
    named: object, folder: Path | None, parse: Callable[..., Table] = parse
) -> tuple[Path, Table]:
    if not isinstance(named, str | os.PathLike):
        raise SettingsError(f"'config_file' must be the path of a file, not {shown_value(named)}")
    path = _below(folder, Path(named).expanduser())
    if not is_file(path):
        raise SettingsError(f"PERFDB_CONFIG names {str(path)!r}, which is not a file: correct it or unset it")
    try:
        with open_file(path) as file:
            content = file.read(MOST_BYTES)
    except OSError as error:
        raise_foreign(error)
        raise SettingsError(f"{shown_path(path)}: cannot be read: {error.strerror}") from None
    table: Table | None = parse(decoded(path, content), source=shown_path(path))
    if path.name == SHARED_FILE and table is not None:
        table = table_of_pyproject(table)
    if table is None:
        raise SettingsError(f"PERFDB_CONFIG names {str(path)!r}, which has no [tool.perfdb]")
    return path, table


def _read_file(table: Table) -> dict[str, Any]:
    values = table.read(_CHECKS)
    found = values | {name: table.table(name) for name in _TABLES if name in table}
    if "measures" in found:
        from perfdb.measures import configured  # most have none, and it takes as long as the settings

        configured(found["measures"])  # a mistake in it is one at once
    return found


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, from_word in _FROM_WORD.items():
        variable = f"PERFDB_{name.upper()}"
        word = environ.get(variable, "")
        if not word.strip():
            continue  # an empty variable is the shell's way to say unset
        try:
            values[name] = _CHECKS[name](from_word(word))
        except ValueError as error:
            raise_foreign(error)
            raise SettingsError(f"environment: {variable} {error}, not {shown_value(word)}") from None
    return values


def _unknown_variables(environ: Mapping[str, str], alerts: Table) -> list[str]:
    """Return a warning when there are variables that look like ours and are not.

    No error: a Kubernetes Service called perfdb gives every container PERFDB_PORT and its like, and a
    channel's own variable may be called so as well.
    """
    known = KNOWN_VARIABLES | _variables_of_channels(alerts)
    unknown = sorted(name for name in environ if name.startswith("PERFDB_") and name not in known)
    if not unknown:
        return []
    named = [name + _meant(name) for name in unknown[:_MOST_NAMED]]
    more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
    return [f"environment: unknown and ignored: {', '.join(named)}{more}"]


_hints: dict[str, str] = {}  # looking for them takes longer than all the rest


def _meant(variable: str) -> str:
    if variable not in _hints and len(_hints) < 1_000:
        _hints[variable] = _nearest_variable(variable)
    return _hints.get(variable, "")


def _nearest_variable(variable: str) -> str:
    names = [known.removeprefix("PERFDB_") for known in KNOWN_VARIABLES]
    hint = nearest(variable.removeprefix("PERFDB_"), names, prefix="PERFDB_")
    return f" ({hint.removeprefix('; ')})" if hint.startswith("; did you") else ""


def _variables_of_channels(alerts: Table) -> set[str]:
    channels = alerts.get("channels", ())
    tables = [each for each in channels if isinstance(each, Mapping)] if isinstance(channels, list) else []
    return {str(each[key]) for each in tables for key in ("url_env", "secret_env") if key in each}


def _read_arguments(given: Mapping[str, object]) -> dict[str, Any]:
    return Table(given).read(_CHECKS)
