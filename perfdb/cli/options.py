"""Options that several commands share: which database, which sessions, which form of answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

import perfdb
from perfdb.cli.completing import complete
from perfdb.cli.group import DATABASE
from perfdb.cli.render import print_sentence
from perfdb.cli.sorting import remember_sort
from perfdb.errors import FilterError, NotFoundError, UsageError
from perfdb.filters import Filters, attribute_of, moment_of
from perfdb.text import counted
from perfdb.vocabulary import STATUSES, mode_of

COUNT = click.IntRange(1)  # of things, or the number of one
TYPED = "perfdb.cli.typed"  # moments as they were typed: a verb may mean another zone
_HISTORY = "perfdb.history"  # in click's meta: the one that was opened
NONE_COUNTS = "counts: they failed, were cut off or cached, still run, or are tagged"
Command = TypeVar("Command", bound=Callable[..., Any])


def instant(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return the epoch seconds of an option's value."""
    if value is None:
        return None
    ctx.meta.setdefault(TYPED, {})[param.name] = value
    with _in_words(ctx, param):
        return moment_of(value)


def attributes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any] | None:
    """Return KEY=VALUE pairs as a dictionary of what each may mean."""
    with _in_words(ctx, param):
        return dict(attribute_of(pair) for pair in values) or None


def canonical_mode(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return a mode as it is recorded, however its JSON was spaced and ordered."""
    if value is None:
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        words = f"{value[:80]!r} is no mode: name one as --json does: '{{\"fast_mode\":false}}'"
        raise click.BadParameter(words, ctx, param)
    return mode_of(found, tuple(found))


@contextmanager
def _in_words(ctx: click.Context, param: click.Parameter) -> Iterator[None]:
    try:
        yield
    except FilterError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _remembered(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        if not value.strip():
            raise click.BadParameter("it is empty: name a file or a URL, or leave it out", ctx, param)
        ctx.meta[DATABASE] = value
    return value


def _one_form(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """Refuse two forms of one answer."""
    if value:
        form = ctx.meta.setdefault(_FORM, param.opts[-1])
        if form != param.opts[-1]:
            raise click.UsageError("--json and --csv are two forms of one answer: choose one.", ctx)
    return value


_FORM = "perfdb.form"  # in click's meta
json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_one_form, help="Print one JSON object."
)
database_option = click.option(
    "-d",
    "--database",
    callback=_remembered,
    metavar="URL",
    help="Use another database: a file, an SQLAlchemy URL or a lake.",
)

_CSV_OPTION = click.option("--csv", "as_csv", is_flag=True, callback=_one_form, help="Print CSV.")
_SORT_OPTION = click.option(
    "--sort",
    expose_value=False,
    callback=remember_sort,
    metavar="COLUMN",
    help="Sort by a column as --json names it; -COLUMN: largest first.",
)


def table_options(command: Command) -> Command:
    """Add what a command that answers with a table takes: ``database``, ``as_json``, ``as_csv``; an order.

    The order is not handed to the command: it shows its rows by ``in_order`` or ``frame_in_order``.
    """
    return database_option(json_option(_CSV_OPTION(_SORT_OPTION(command))))


measure_option = click.option(
    "--measure",
    default="duration",
    metavar="NAME",
    shell_complete=complete("measure"),
    help="Measure instead of the duration: cost_usd, cpu_s, any number that was recorded (perfdb measures).",
)
only_measure_option = click.option(
    "--measure", metavar="NAME", shell_complete=complete("measure"), help="Only of this measure."
)
expand_option = click.option(
    "--expand", is_flag=True, help="Give each attribute of the sessions a column of its own."
)


def name_option(kind: str, words: str) -> Callable[[Command], Command]:
    """Return an option that takes a recorded name: ``--pipeline``, ``--step``, ``--tag`` or ``--branch``."""
    return click.option(f"--{kind}", metavar="NAME", shell_complete=complete(kind), help=words)


def last_option(
    words: str = "Number of newest sessions.", default: int | None = None
) -> Callable[[Command], Command]:
    """Return the option that says how many are looked at."""
    return click.option(
        "-n", "--last", default=default, show_default=default is not None, type=COUNT, help=words
    )


def say_which(
    history: perfdb.History, last: int, given: Filters, *, of_each: Iterable[str] | None = None
) -> None:
    """Say of how many of the newest sessions an answer is, where nobody chose and there are more.

    Args:
        history: that answered.
        last: so many of the newest were looked at.
        given: filters of the sessions; what is left out of a window that somebody chose is said elsewhere.
        of_each: the pipelines of which so many each were looked at; None: of all together.
    """
    source = click.get_current_context().get_parameter_source("last")
    if source is not ParameterSource.DEFAULT or given.keys() & {"since", "until"}:
        return
    parts: Iterable[Filters] = (
        [given] if of_each is None else ({**given, "pipeline": name} for name in of_each)
    )
    if any(history.count(**part) > last for part in parts):
        which = "" if of_each is None else " of each pipeline"
        click.echo(f"Of the newest {last:,} sessions{which}; choose with --last or --since", err=True)


def output_option(words: str, **more: Any) -> Callable[[Command], Command]:
    """Return the option that says where the answer goes."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option("-o", "--output", type=kind, metavar="FILE", help=words, **more)


def _attribute(*flags: str, words: str) -> Callable[[Command], Command]:
    return click.option(
        *flags,
        callback=attributes,
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=complete("attribute"),
        help=words,
    )


def _mode(words: str) -> Callable[[Command], Command]:
    return click.option(
        "--mode", callback=canonical_mode, metavar="JSON", shell_complete=complete("mode"), help=words
    )


_OF_SESSIONS = _attribute(
    "--attribute", "--session-attribute", "attribute", words="Only sessions with this attribute."
)
_OF_STEPS = (
    _attribute("--attribute", words="Only steps with this attribute, their own or their session's."),
    _attribute("--session-attribute", words="Only steps of sessions with this attribute."),
)
_FILTERS: tuple[Callable[[Any], Any], ...] = (
    name_option("pipeline", "Only this pipeline."),
    click.option(
        "--since",
        callback=instant,
        metavar="WHEN",
        help="Only sessions started at or after WHEN: 7d, 24h, 2026-01-31.",
    ),
    click.option("--until", callback=instant, metavar="WHEN", help="Only sessions started before WHEN."),
    click.option("--fast-mode/--normal-mode", "fast_mode", default=None, help="Only sessions in this mode."),
    click.option("--status", type=click.Choice(STATUSES), help="Only sessions with this status."),
    _OF_SESSIONS,
    name_option("tag", "Only sessions with this tag."),
    name_option("branch", "Only sessions that ran on this branch of git."),
    _mode("Only sessions of this mode, as --json names it."),
)


def check_expand(expand: bool, for_programs: bool) -> None:
    """Refuse ``--expand`` where no column is printed for an attribute."""
    if expand and not for_programs:
        raise click.UsageError("--expand is for --json and --csv.")


def filter_options(command: Command) -> Command:
    """Add the filters; the command takes them as ``**filters`` and hands them to History."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def step_filter_options(command: Command) -> Command:
    """Add the filters where ``--attribute`` is of the steps: ``session_attribute`` is as elsewhere."""
    for option in reversed(_FILTERS):
        for each in reversed(_OF_STEPS) if option is _OF_SESSIONS else (option,):
            command = each(command)
    return command


def series_options(what: str) -> Callable[[Command], Command]:
    """Return what chooses things that are about a series: ``pipeline``, ``step``, ``mode``, ``measure``."""

    def decorated(command: Command) -> Command:
        return name_option("pipeline", f"Only {what} of this pipeline.")(
            name_option("step", f"Only {what} of this step.")(
                _mode(f"Only {what} of this mode, as --json names it.")(
                    click.option(
                        "--measure", metavar="NAME", shell_complete=complete("measure"),
                        help=f"Only {what} of this measure.",
                    )(command)
                )
            )
        )  # fmt: skip

    return decorated


def history_filters(filters: dict[str, Any]) -> Filters:
    """Return the options that were given, as History's methods take them."""
    return cast(Filters, {name: value for name, value in filters.items() if value is not None})


def open_history(
    database: str | None, *, writes: bool = False, lists: bool = False, records: bool = False
) -> perfdb.History:
    """Open the door and say which database is behind it, and whether it will be written to.

    What ``records`` makes the home that ``PERFDB_HOME`` names, as any run does.
    """
    from perfdb.history.names import require_home

    history = perfdb.History(database)
    history.require_access()
    if not records:
        require_home(history)
    click.get_current_context().meta[_HISTORY] = history
    require_known(history)
    click.echo(f"{'Write' if writes or records else 'Read'} {history.database}", err=True)
    if lists and (stale := history.stale_modes()) is not None:
        print_sentence(stale if database is None else f"{stale} -d {quote(history.database)}", err=True)
    return history


def require_known(history: perfdb.History, *kinds: str) -> None:
    """Refuse names in the command's options that nothing has: an empty answer would say that all is well."""
    from perfdb.history.names import require_names

    given = click.get_current_context().params
    named = {kind: given.get(kind) for kind in kinds or ("pipeline", "step", "tag", "branch", "mode")}
    names: dict[str, Any] = {kind: name for kind, name in named.items() if isinstance(name, str)}
    if kinds:
        require_names(history, **names)
    elif "session_attribute" in given:  # then the other is of steps
        of_step, of_session = given["attribute"], given["session_attribute"]
        require_names(history, **names, attribute=of_session, step_attribute=of_step)
    else:
        require_names(history, **names, attribute=given.get("attribute"))


def session_meant(history: perfdb.History, session_id: str, filters: Mapping[str, Any]) -> str:
    """Return the session that ``last`` or ``last~1`` means among those that fit the filters.

    Raises:
        UsageError: an id is given, which needs no filter.
        NotFoundError: fewer sessions fit.
    """
    given = history_filters(dict(filters))
    if not given:
        return session_id
    name, tilde, back = session_id.partition("~")
    if name != "last" or (tilde and not (back.isascii() and back.isdigit() and len(back) < 10)):
        flag = next(iter(given)).replace("_", "-")
        raise UsageError(f"--{flag} chooses what last means; an id needs no filter: give last or last~1")
    wanted = int(back or 0) + 1
    rows = history.session_rows(last=wanted, **given)
    if len(rows) < wanted:
        fitting = f"{len(rows)} session{'s' * (len(rows) != 1)}" if rows else "no session"
        raise NotFoundError(f"there is no {session_id}: {fitting} of the history fits; see: perfdb sessions")
    return str(rows[0]["session_id"])


def say_what_next(filters: Mapping[str, Any], *, lack: str = NONE_COUNTS) -> None:
    """Answer an empty result with what is the matter, and the next thing to do.

    Args:
        filters: that were given.
        lack: what is to be said of sessions that fit all the same: that none of them …
    """
    history = click.get_current_context().meta.get(_HISTORY)
    of_sessions = {name: value for name, value in filters.items() if name in Filters.__annotations__}
    fitting = 0 if history is None else history.count(**of_sessions)
    if fitting:
        those = "that match " if of_sessions else ""
        print_sentence(f"Of the {counted(fitting, 'session')} {those}none {lack}.", err=True)
        return
    if filters and (history is None or history.count()):
        print_sentence(
            "No session matches. Loosen the filters, or list all sessions with: perfdb sessions", err=True
        )
        return
    click.echo(
        "Nothing recorded yet. Record a run with perfdb.track(...), try `perfdb demo`,\n"
        "or import old reports with `perfdb import FOLDER`.",
        err=True,
    )
