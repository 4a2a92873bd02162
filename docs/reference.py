"""The reference pages of the documentation, made from the code: MkDocs calls ``on_files`` (see mkdocs.yml).

Names, types, units, defaults and options come from perfdb itself, what they mean from words.toml. A name
without words, or words about nothing, is a ``KeyError`` here, so that a page cannot be out of date.
"""

from __future__ import annotations

import inspect
import json
import random
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import click

import perfdb
from perfdb.alerts.config import read_alert_settings
from perfdb.analysis.rules import TABLE
from perfdb.cli import SECTIONS, cli
from perfdb.maintenance.formats.traces import read_otlp_settings
from perfdb.measures import configured, unit_of
from perfdb.recording.report import to_report
from perfdb.recording.tracker import Tracker
from perfdb.settings import KNOWN_VARIABLES, OTHER_VARIABLES, sources
from perfdb.store.database import Database
from perfdb.store.upkeep.pruning import read_policy
from perfdb.testing import make_history, make_session
from perfdb.toml import Table
from perfdb.worker.archiving import read_archive
from perfdb.worker.pricing import read_prices

WORDS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
_UNITS = {"s": "seconds", "ms": "milliseconds", "usd": "US dollars"}


class Words:
    """The words of one table of words.toml; whoever ends with some left over is told which."""

    def __init__(self, *path: str) -> None:
        self._table: dict[str, str] = WORDS
        for each in path:
            self._table = self._table[each]  # type: ignore[assignment]
        self._name = ".".join(path)
        self._left = set(self._table)

    def __getitem__(self, name: str) -> str:
        self._left.discard(name)
        try:
            return self._table[name]
        except KeyError:
            raise KeyError(f"docs/words.toml has nothing in [{self._name}] about {name!r}") from None

    def done(self) -> None:
        """Raise a KeyError if there are words about what no longer exists."""
        if self._left:
            raise KeyError(f"docs/words.toml, [{self._name}]: about nothing: {', '.join(sorted(self._left))}")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(each.replace("|", "\\|") for each in line) + " |" for line in lines)


def code(value: object) -> str:
    """Return a value as code; nothing for None."""
    return "" if value is None else f"`{value}`"


# Settings and rules


def keys_of(read: Callable[[Table], object], given: dict[str, Any]) -> list[set[str]]:
    """Return the keys that each table may have which ``read`` looks into."""
    asked: list[set[str]] = []
    truly = Table.read

    def watched(self: Table, checks: Any) -> Any:
        asked.append(set(checks))
        return truly(self, checks)

    with mock.patch.object(Table, "read", watched):
        read(Table(given))
    return asked


def _keys(name: str, known: Iterable[str]) -> str:
    words = Words("keys", name)
    places = {key: place for place, key in enumerate(WORDS["keys"][name])}
    rows = [(code(key), words[key]) for key in sorted(known, key=lambda key: places.get(key, len(places)))]
    words.done()
    return table(("key", ""), rows)


def settings_page() -> str:
    """Return every setting, variable and table of the settings."""
    words, variables = Words("settings"), Words("variables")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings = perfdb.History(home=folder).settings
    for name, value, _ in sources(settings, environ={}):
        variable = f"PERFDB_{name.upper()}"
        default = None if name in ("home", "database_url", "report_dir") else value
        shown = None if default is None else code(json.dumps(default))
        rows.append(
            (code(name), code(variable) if variable in KNOWN_VARIABLES else "", shown or "", words[name])
        )
    words.done()
    further = table(("variable", ""), ((code(name), variables[name]) for name in OTHER_VARIABLES))
    variables.done()
    otlp = keys_of(read_otlp_settings, {})[0]
    measures = keys_of(configured, {"rows": Table({})})[0]
    retention = keys_of(read_policy, {"keep_last": 1})[0]
    prices = keys_of(read_prices, {"m": Table({"input": 1.0})})[0]
    return "\n\n".join(
        (
            WORDS["pages"]["settings"],
            table(("setting", "variable", "default", ""), rows),
            "## Further variables",
            further,
            "## `[measures.NAME]`",
            _keys("measures", measures),
            "## `[retention]`",
            _keys("retention", retention),
            "## `[prices.MODEL]`",
            _keys("prices", prices),
            "## `[archive]`",
            _keys("archive", keys_of(read_archive, {"lake": "/lake"})[0]),
            "## `[otlp]`",
            _keys("otlp", otlp),
            "## `[pathway]`",
            WORDS["pages"]["pathway"],
            _pathway(),
        )
    )


def _pathway() -> str:
    from perfdb.pathway.settings import _CHECKS, PathwaySettings

    defaults = PathwaySettings()
    return table(("key", "default"), ((code(key), code(getattr(defaults, key))) for key in sorted(_CHECKS)))


def rules_page() -> str:
    """Return the kinds of rules with their keys, the default rules, and the channels."""
    alerts, channel = keys_of(read_alert_settings, {"channels": [Table({"name": "log", "kind": "log"})]})
    common: set[str] = set()
    for kind in TABLE.values():
        given = {"name": "x", "kind": kind.name} | dict.fromkeys(kind.needs, 0.6)
        common |= keys_of(read_alert_settings, {"rules": [Table(given)]})[-1]
    kinds, defaults = [], []
    for kind in TABLE.values():
        numbers = (f"`{name}`{' (required)' if name in kind.needs else ''}" for name in kind.settings)
        own = [*numbers, *map(code, kind.choices), *(["`direction`"] if kind.sided else [])]
        kinds.append((code(kind.name), kind.summary, ", ".join(own), "yes" if kind.information else ""))
        if kind.default is not None:
            about = {None: "the total", "*": "the total and every step"}[kind.default.step]
            defaults.append((code(kind.default.name), code(kind.name), kind.default.severity, about))
    return "\n\n".join(
        (
            WORDS["pages"]["rules"],
            "## Kinds",
            table(("kind", "fires if", "keys of its own", "information only"), kinds),
            "## Rules that are on by default",
            table(("rule", "kind", "severity", "about"), defaults),
            "## `[[alerts.rules]]`",
            _keys("rule", common),
            "## `[[alerts.channels]]`",
            _keys("channel", channel),
            "## `[alerts]`",
            _keys("alerts", alerts),
        )
    )


# Commands


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, in the order of the help; groups before what is in them."""

    def of(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for each in command.list_commands(context):
                found = command.get_command(context, each)
                if found is not None and not found.hidden:
                    yield from of(f"{name} {each}", found)

    context = click.Context(cli)
    for names in SECTIONS.values():
        for name in names:
            found = cli.get_command(context, name)
            if found is not None:
                yield from of(f"perfdb {name}", found)


def commands_page() -> str:
    """Return every command with its arguments and options, and the exit codes."""
    parts = [
        WORDS["pages"]["commands"],
        table(
            ("exit code", ""),
            (
                (code(0), "The question was answered."),
                (code(1), "`check` and `doctor` only: something fires, or needs attention."),
                (code(2), "It could not be answered: wrong arguments, no such session, no database …"),
                (code(130), "It was interrupted with Ctrl-C."),
            ),
        ),
    ]
    for name, command in commands():
        context = click.Context(command, info_name=name)
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        help_text = inspect.cleandoc(command.help or "").split("\f")[0]
        parts += [f"## {name}", f"```text\n{usage}\n```", _prose(help_text)]
        rows = []
        for each in command.get_params(context):
            record = each.get_help_record(context) if isinstance(each, click.Option) else None
            if record is not None and not record[0].endswith("--help"):
                rows.append((code(record[0]), " ".join(record[1].split())))
        if rows:
            parts.append(table(("option", ""), rows))
    return "\n\n".join(parts)


def _prose(text: str) -> str:
    """Return the text of a help as Markdown: what is laid out by hand stays so."""
    parts = []
    for block in text.split("\n\n"):
        laid_out = block.startswith("\b")
        parts.append(
            f"```text\n{block.strip(chr(8) + chr(10))}\n```" if laid_out else block.replace("<", "&lt;")
        )
    return "\n\n".join(parts)


# Python


def python_page() -> str:
    """Return the public face: functions, classes and errors, with their docstrings."""
    parts = [
        WORDS["pages"]["python"],
    ]
    errors = []
    for name in perfdb.__all__:
        value = getattr(perfdb, name)
        if inspect.isclass(value) and issubclass(value, Exception):
            errors.append((code(name), (inspect.getdoc(value) or "").replace("\n", " ")))
        elif inspect.isclass(value):
            parts += _class(f"perfdb.{name}", value)
        elif callable(value):
            parts += _function(f"perfdb.{name}", value)
    parts += _class("Tracker", Tracker)
    parts += ["## Errors", table(("error", ""), errors)]
    return "\n\n".join(parts)


def _function(name: str, value: Any, level: str = "##") -> list[str]:
    shown = name.rpartition(".")[2] if level == "###" else name
    if isinstance(value, property):
        return [f"{level} {shown}", _docstring(value)]
    return [f"{level} {shown}", f"```python\n{shown}{_signature(value)}\n```", _docstring(value)]


def _signature(value: Any) -> str:
    found = inspect.signature(value)
    kept = [each for each in found.parameters.values() if each.name != "self"]
    given, kinds = [], inspect.Parameter
    for place, each in enumerate(kept):
        if each.kind is kinds.KEYWORD_ONLY and (
            place == 0 or kept[place - 1].kind is kinds.POSITIONAL_OR_KEYWORD
        ):
            given.append("*")
        stars = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(each.kind, "")
        annotation = "" if each.annotation is kinds.empty else f": {_annotation(each.annotation)}"
        default = "" if each.default is kinds.empty else f" = {each.default!r}"
        given.append(f"{stars}{each.name}{annotation}{default}")
    returns = "" if found.return_annotation is found.empty else f" -> {_annotation(found.return_annotation)}"
    line = f"({', '.join(given)}){returns}"
    return line if len(line) <= 90 else "(\n" + "".join(f"    {each},\n" for each in given) + f"){returns}"


def _annotation(value: Any) -> str:
    return value if isinstance(value, str) else inspect.formatannotation(value)


def _class(name: str, value: type) -> list[str]:
    parts = [f"## {name}"]
    if inspect.isfunction(vars(value).get("__init__")) and value is not Tracker:
        parts.append(f"```python\n{name}{_signature(vars(value)['__init__']).removesuffix(' -> None')}\n```")
    parts.append(_docstring(value))
    for each, member in sorted(vars(value).items()):
        if each.startswith("_") or not (callable(member) or isinstance(member, property)):
            continue
        if inspect.getdoc(member):
            parts += _function(f"{name}.{each}", member, "###")
    return parts


_LISTS = ("Args", "Attributes", "Raises")
_SECTIONS = (*_LISTS, "Returns", "Yields", "Example", "Examples")


def _docstring(value: Any) -> str:
    """Return a docstring as Markdown: what it lists becomes a list."""
    parts: list[str] = []
    section = ""
    for line in (inspect.getdoc(value) or "").replace("``", "`").splitlines():
        name = line.rstrip(":")
        if line.endswith(":") and name in _SECTIONS:
            section = name
            parts += ["", f"**{name}**", ""]
        elif not section or section.startswith("Example") or not line.startswith("    "):
            parts.append(line)
        elif section in _LISTS and not line.startswith("        "):
            label, colon, rest = line.strip().partition(":")
            parts.append(f"* `{label}`:{rest}" if colon else f"* {label}")
        else:
            parts.append(line.strip() if section not in _LISTS else "  " + line.strip())
    return "\n".join(parts).replace("<", "&lt;")


# Frames, views, report, API


@cache
def example() -> perfdb.History:
    """Return a small history in which there is something to answer for every question."""
    chance = random.Random(7)  # noqa: S311
    runs = []
    for number in range(120):
        factor = 1.6 if number >= 70 else 1.0
        seconds = {"load": 2 * chance.uniform(1, 1.04), "transform": 5 * factor * chance.uniform(1, 1.04)}
        attributes = {"customer": "acme" if number % 3 else "zeta", "rows": 1000 + number}
        runs.append(
            make_session(
                number, seconds, every_s=3600, pipeline="nightly-etl", attributes=attributes,
                git_commit="a1" if number < 70 else "b2",
            )
        )  # fmt: skip
    history = make_history(tempfile.mkdtemp(prefix="perfdb-docs-"), runs)
    history.pin(pipeline="nightly-etl")
    return history


def frames() -> dict[str, Any]:
    """Return a frame of each question, by the call that gives it."""
    history = example()
    return {
        "sessions()": history.sessions(),
        "steps()": history.steps(),
        "trends()": history.trends(),
        "bottlenecks()": history.bottlenecks(),
        "regressions()": history.regressions(),
        "differs_by()": history.differs_by(),
        "switches()": history.switches(),
        "failures()": history.failures(),
        "measures()": history.measures(),
        "pareto()": history.pareto(by="pipeline", measure="rows"),
        "spending()": history.spending(),
        "thresholds()": history.thresholds(),
        "violations()": history.violations(),
        "alerts()": history.alerts(),
        "baselines()": history.baselines(),
        "replay_rules()": history.replay_rules(),
        "explain().frame": history.explain().frame,
        "compare(a, b).frame": history.compare("last~1", "last").frame,
        'compare("acme", "zeta", by="customer").frame': history.compare("acme", "zeta", by="customer").frame,
    }


def frames_page() -> str:
    """Return the columns of every frame, with their types and units."""
    words = Words("columns")
    parts = [
        WORDS["pages"]["frames"],
    ]
    for call, frame in frames().items():
        rows = []
        for name, kind in frame.dtypes.items():
            sort = str(kind)
            shown = "text" if sort in ("object", "str") else sort
            if name in ("attributes", "additional_data", "details"):
                shown = "dict"
            elif name in ("tags", "events", "parts", "suspects") or (name == "attempts" and shown == "text"):
                shown = "list"
            unit = _UNITS.get(unit_of(str(name)), unit_of(str(name)))
            if name in ("duration", "total_duration", "start_time", "end_time"):
                unit = "seconds"
            rows.append((code(name), shown, unit, words[str(name)]))
        parts += [f"## {call}", table(("column", "type", "unit", ""), rows)]
    for columns in views().values():
        for name in columns:
            words[name]
    words.done()
    return "\n\n".join(parts)


def views() -> dict[str, list[str]]:
    """Return the columns of the views in the database, by view."""
    with Database(example().url) as database, database.reading() as connection:
        return {
            view: [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({view})")]
            for view in ("v_sessions", "v_steps")
        }


def views_page() -> str:
    """Return the columns of the two views in the database."""
    parts = [
        WORDS["pages"]["views"],
    ]
    for view, columns in views().items():
        rows = ((code(name), WORDS["columns"][name]) for name in columns)
        parts += [f"## {view}", table(("column", ""), rows)]
    return "\n\n".join(parts)


def report_page() -> str:
    """Return the fields of the JSON report."""
    words = Words("report")
    report = to_report(example().session("last"))
    step = report["steps"][0]
    return "\n\n".join(
        (
            WORDS["pages"]["report"],
            "## Session",
            table(("field", ""), ((code(name), words[name]) for name in report)),
            "## Each of `steps`",
            table(("field", ""), ((code(name), words[name]) for name in step)),
        )
    )


def api_page() -> str:
    """Return the routes of the dashboard's API."""
    from perfdb.web.app import create_app

    found = create_app(example()).openapi()
    parts = [
        WORDS["pages"]["api"],
    ]
    for path, methods in found["paths"].items():
        for method, said in methods.items():
            parts += [
                f"## {method.upper()} {path}",
                (said.get("description") or said.get("summary") or "").replace("<", "&lt;"),
            ]
            rows = []
            for each in said.get("parameters", ()):
                shape = each["schema"]
                kinds = [shape, *shape.get("anyOf", ())]
                kind = " or ".join(
                    dict.fromkeys(k["type"] for k in kinds if k.get("type") not in (None, "null"))
                )
                rows.append((code(each["name"]), kind, each.get("description", shape.get("description", ""))))
            if rows:
                parts.append(table(("parameter", "type", ""), rows))
    return "\n\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings_page,
    "reference/rules.md": rules_page,
    "reference/commands.md": commands_page,
    "reference/python.md": python_page,
    "reference/frames.md": frames_page,
    "reference/views.md": views_page,
    "reference/report.md": report_page,
    "reference/api.md": api_page,
}
"""Every page that is made from the code, by its place in the documentation."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those that MkDocs found."""
    from mkdocs.structure.files import File

    for place, page in PAGES.items():
        files.append(File.generated(config, place, content=page()))
    return files
