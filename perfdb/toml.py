"""TOML tables that remember where they were written.

Every refusal of a setting names its file, its line and the nearest right key.
The standard library's parser gives values without positions, so the lines are
found by a second, small scan of the same text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from perfdb.errors import SettingsError
from perfdb.guard import raise_foreign

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

Check = Callable[[object], "Any"]
"""Returns the value as it shall be used; raises ValueError with words that follow the key: ``must be …``."""

Key = str | int


class Table(Mapping[str, "Any"]):
    """A mapping of settings with its origin: the file as shown to people, the path in it, the lines."""

    __slots__ = ("_lines", "above", "path", "source", "values_")

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        source: str = "",
        path: tuple[Key, ...] = (),
        lines: Mapping[tuple[Key, ...], int] | None = None,
        above: Table | None = None,
    ) -> None:
        self.values_ = values
        self.source = source
        self.path = path
        self._lines = lines or {}
        self.above = above  # the table that it was taken from

    def __getitem__(self, key: str) -> Any:
        return self.values_[key]

    # those of `Mapping` take a handler's KeyError for a key that is missing
    def __contains__(self, key: object) -> bool:
        return key in self.values_

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or the default where there is none."""
        return self.values_.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __repr__(self) -> str:
        return f"Table({self.name or 'top level'}, keys={sorted(self.values_)})"  # values may be secrets

    @property
    def name(self) -> str:
        """The header as written: ``[pathway]``, ``[[alerts.rules]]``; empty at the top of a file."""
        dotted = ".".join(part for part in self.path if isinstance(part, str))
        if not dotted:
            return ""
        return f"[[{dotted}]]" if isinstance(self.path[-1], int) else f"[{dotted}]"

    def line(self, *keys: Key) -> int | None:
        """Return the line of ``keys`` below this table, or of the nearest enclosing thing that has one."""
        path = self.path + keys
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    def error(self, message: str, *keys: Key) -> SettingsError:
        """Return (for the caller to raise) a SettingsError that starts with file and line of ``keys``."""
        line = self.line(*keys)
        place = f"{self.source}, line {line}" if self.source and line is not None else self.source
        return SettingsError(f"{place}: {message}" if place else message)

    def table(self, key: str) -> Table:
        """Return the table under ``key``; an empty one when there is none."""
        value = self.values_.get(key, {})
        if not isinstance(value, Mapping):
            raise self.error(f"'{key}' must be a table, not {shown_value(value)}", key)
        return Table(value, source=self.source, path=(*self.path, key), lines=self._lines, above=self)

    def tables(self, key: str) -> list[Table]:
        """Return the array of tables under ``key``, such as ``[[alerts.rules]]``, in file order."""
        values = self.values_.get(key, [])
        if not isinstance(values, list | tuple) or not all([isinstance(value, Mapping) for value in values]):
            raise self.error(f"'{key}' must be an array of tables: write [[{key}]] above each", key)
        return [
            Table(value, source=self.source, path=(*self.path, key, index), lines=self._lines)
            for index, value in enumerate(values)
        ]

    def read(self, checks: Mapping[str, Check]) -> dict[str, Any]:
        """Return the checked value of each key that is present.

        Raises:
            SettingsError: a key that ``checks`` does not know, or a value that its check refuses.
        """
        where = f" in {self.name}" if self.name else ""
        checked: dict[str, Any] = {}
        for key, value in self.values_.items():
            if key not in checks:
                raise self.error(f"unknown setting '{key}'{where}{nearest(key, checks)}", key)
            try:
                checked[key] = checks[key](value)
            except ValueError as error:
                raise_foreign(error)
                raise self.error(f"'{key}'{where} {error}, not {shown_value(value)}", key) from None
        return checked


def nearest(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, else all of them; each after ``prefix``."""
    import difflib

    names = sorted(known)
    plain = {re.sub(r"[^a-z0-9]", "", known_name.lower()): known_name for known_name in names}
    found = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), plain, n=1, cutoff=0.6)
    if found:
        return f"; did you mean '{prefix}{plain[found[0]]}'?"
    return f"; known are {', '.join(prefix + known_name for known_name in names)}"


def shown_value(value: object) -> str:
    """Return the value for an error message: short, and hidden when it may be a URL with a password."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and "://" in value:
        return f"'{value.partition('://')[0][:20]}://…'"
    if isinstance(value, Mapping):
        return "a table"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def parse(text: str, *, source: str) -> Table:
    """Parse TOML.

    Raises:
        SettingsError: the text is not TOML; file and line are named.
    """
    import tomllib

    if len(text) > _MOST or _compiled(_DEEP).search(text):  # the library takes the square of its time
        raise SettingsError(f"{source}: not valid TOML for settings: a name of 50 parts, or more than 1 MB")
    try:
        values: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise_foreign(error)
        message, _, position = str(error).partition(" (at ")
        number = re.match(r"line (\d+)", position)
        line = int(number[1]) if number else text.count("\n") + 1
        raise SettingsError(f"{source}, line {line}: not valid TOML: {message}") from None
    except (RecursionError, ValueError) as error:  # a number of thousands of digits
        raise_foreign(error)
        raise SettingsError(f"{source}: not valid TOML: nested too deeply, or a number too long") from None
    return Table(values, source=source, lines=line_numbers(text))


# Patterns are compiled at their first use: most processes read no file. And once, because to find one in the
# cache of `re` takes a handler's KeyError for its own.
_compiled = cache(re.compile)
_PART = r"""[ \t]*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))[ \t]*(\.?)"""
_VALUE = r'''(?s)"""(?:\\.|(?!""")[^\\])*"{3,5}|\'\'\'.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*|.'''
_MOST = 1_000_000  # characters
MOST_BYTES = 4 * _MOST + 1  # of a file: more need not be read to be refused
_DEEP = r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){50}"""
_BLANK = r"(?:\s|#[^\n]*)*"


def line_numbers(text: str) -> dict[tuple[Key, ...], int]:
    """Return the line of each header and key of valid TOML; what is inline counts as its key."""
    text = text.replace("\r\n", "\n")
    lines: dict[tuple[Key, ...], int] = {}
    arrays: dict[tuple[Key, ...], int] = {}  # path of an array of tables -> index of its last table
    prefix: tuple[Key, ...] = ()
    line, counted = 1, 0
    position = _end_of(_BLANK, text, 0)
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        if text[position] == "[":
            repeated = text.startswith("[[", position)
            names, position = _dotted(text, position + 1 + repeated)
            prefix = ()
            for number, name in enumerate(names, start=1):
                prefix = (*prefix, name)
                if repeated and number == len(names):
                    arrays[prefix] = arrays.get(prefix, -1) + 1
                    lines.setdefault(prefix, line)
                if prefix in arrays:
                    prefix = (*prefix, arrays[prefix])
            lines.setdefault(prefix, line)
        else:
            names, position = _dotted(text, position)
            path = prefix
            for name in names:
                path = (*path, name)
                lines.setdefault(path, line)
        position = _end_of(_BLANK, text, _end_of_statement(text, position))
    return lines


def _dotted(text: str, position: int) -> tuple[list[str], int]:
    names: list[str] = []
    pattern = _compiled(_PART)
    while part := pattern.match(text, position):
        names.append(next(iter([group for group in part.groups()[:3] if group is not None])))
        position = part.end()
        if not part[4]:
            break
    return names, position


def _end_of_statement(text: str, position: int) -> int:
    depth = 0
    pattern = _compiled(_VALUE)
    while token := pattern.match(text, position):
        position = token.end()
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1  # the rest of a header goes to -1 or -2 and ends with its line all the same
        elif token[0] == "\n" and depth <= 0:
            break
    return position


def _end_of(pattern: str, text: str, position: int) -> int:
    found = _compiled(pattern).match(text, position)
    return found.end() if found else position
