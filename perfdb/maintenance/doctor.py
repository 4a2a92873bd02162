"""Look at all that perfdb needs on this machine, and say what needs a hand.

Each check returns findings and changes nothing: no journal is taken in, no table migrated. One that
cannot look says so in a finding of its own, because that is when somebody asks.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from shlex import quote

from perfdb.errors import PerfdbError
from perfdb.maintenance.formats.traces import read_otlp_settings
from perfdb.measures import FIXED
from perfdb.recording.journal import SUFFIX, files_in, has_living_writer, journals_in, records_behind
from perfdb.recording.quarantine import BAD_SUFFIX
from perfdb.search import doubt_about_home
from perfdb.settings import Settings, shown_path, trust_for
from perfdb.sharing import is_shared
from perfdb.store.upkeep.pruning import read_policy
from perfdb.text import counted, duration_text, inert, local_time, nothing_called, size_text
from perfdb.worker.archiving import read_archive
from perfdb.worker.pricing import read_prices
from perfdb.worker.upkeep import stamp_of

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.store.upkeep.inspection import Facts
    from perfdb.trust import Trust

FINE, NOTE, WARNING, ERROR = "fine", "note", "warning", "error"

NETWORK = {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre",
           "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "davfs", "webdav",
           "afpfs", "osxfuse", "drvfs", "virtiofs", "vboxsf", "beegfs", "gpfs"}  # fmt: skip
VANISHING = {"tmpfs", "ramfs", "devtmpfs"}
_SENT_NEXT = "the next program that records sends them; or now: perfdb recover"
_LEFT = "if their programs are dead, or the database was restored: perfdb recover --left"
LITTLE_BYTES, TOO_LITTLE_BYTES = 1 << 30, 100 << 20
FEW_FILES = 1_000
LONG_LOG_BYTES = 64 << 20
_DAYS_CHECKED = 7
STUCK_S = 60.0  # a living writer brings its lines to the database within seconds
CLOCKS_APART_S = 5.0
RECENT_S = 7 * 86400.0
OLD_NAME = "performance_tracking"  # of the module that perfdb took the place of
EXTRAS = {
    "web": ("fastapi", "uvicorn"),
    "postgres": ("psycopg",),
    "notify": ("apprise",),
    "parquet": ("pyarrow",),
    "pathway": ("openai", "pillow", "serpapi"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. ``state``: fine, note, warning or error; ``advice``: what to do, if anything."""

    check: str
    state: str
    found: str
    advice: str | None = None

    @property
    def needs_a_hand(self) -> bool:
        """Whether somebody should do something."""
        return self.state in (WARNING, ERROR)


def examine(settings: Settings, *, explicit: bool = False) -> Iterator[Finding]:
    """Yield what is found, place by place.

    Args:
        settings: what to look at.
        explicit: the database was named by its URL: then it must be there.
    """
    checks: list[Callable[[], Iterable[Finding]]] = [
        lambda: look_at_settings(settings),
        lambda: look_at_home(settings.home, settings.report_dir, trust_for(settings)),
        lambda: look_at_disk(settings.home),
        lambda: look_at_database(settings, explicit=explicit),
        look_at_versions,
        lambda: look_for_old_module(Path(), settings.home.parent),
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            found = f"a check failed: {type(error).__name__}: {error}"
            yield Finding("doctor", ERROR, found, "report it: this is a bug in perfdb")


# --- what was configured ------------------------------------------------------------------------------


def look_at_settings(settings: Settings) -> Iterator[Finding]:
    """Say where the settings come from, and whether their tables are understood."""
    from perfdb.alerts.config import read_alert_settings

    variables = sorted(name for name in os.environ if name.startswith("PERFDB_") and os.environ[name].strip())
    where = shown_path(settings.config_file) if settings.config_file else "no file, defaults"
    over = f"; overridden by environment variables: {', '.join(variables)}" if variables else ""
    yield Finding("settings", FINE, where + over)
    for warning in settings.warnings:
        yield Finding("settings", WARNING, *_advised(warning))
    if settings.closed_home is not None:
        found = f"{shown_path(settings.closed_home)} may contain a history but cannot be read"
        yield Finding("home", WARNING, found, f"set PERFDB_HOME={settings.home} for one of your own")
    if settings.disabled:
        yield Finding("recording", WARNING, "is turned off", "unset PERFDB_DISABLED (or `disabled`)")
    try:
        alerts = read_alert_settings(settings.alerts, reading=True)
        channels = ", ".join(f"{each.name} ({each.kind})" for each in alerts.channels) or "none"
        yield Finding("rules", FINE, f"{counted(len(alerts.rules), 'rule')}; channels: {channels}")
        for each in alerts.channels:
            if each.off:
                yield Finding("channels", WARNING, each.off, "set it where your programs run, and here")
    except PerfdbError as error:
        yield Finding("rules", ERROR, str(error), "correct that line: programs refuse to start with it")
    for name, table, read, refused in (
        ("otlp", settings.otlp, read_otlp_settings, "traces are not taken"),
        ("prices", settings.prices, read_prices, "programs refuse to start"),
        ("archive", settings.archive, read_archive, "programs refuse to start"),
    ):
        try:
            read(table)
        except PerfdbError as error:
            yield Finding(name, ERROR, str(error), f"correct that line: {refused} with it")
    try:
        policy = read_policy(settings.retention)
    except PerfdbError as error:
        yield Finding("retention", ERROR, str(error), "correct that line: programs refuse to start with it")
    else:
        yield Finding("retention", FINE, _pruned(settings) if policy else "everything is kept")


def _advised(warning: str) -> tuple[str, str]:
    if warning.startswith("environment: "):
        return warning, "correct or unset them (for a Kubernetes Service: enableServiceLinks: false)"
    found, _, use = warning.partition(". To use it: ")
    return found, f"if you trust it: {use}"


def _pruned(settings: Settings) -> str:
    try:
        stamp = stamp_of(settings.home, settings.database_url)
        return f"by [retention]; last pruned {local_time(float(stamp.read_text()))}"
    except (OSError, ValueError, PerfdbError):
        return "by [retention]; not pruned yet"


# --- the folder and the disk --------------------------------------------------------------------------


def look_at_home(home: Path, report_dir: Path, trust: Trust | None = None) -> Iterator[Finding]:
    """Say whether the folders are there, ours, private, and can be written; ``trust`` as in ``trust_for``."""
    if (doubt := doubt_about_home(home, trust)) is not None:
        found, _, use = doubt.partition(". If you trust it: ")
        yield Finding("home", ERROR, f"{found}; runs are not recorded", f"if you trust it: {use}")
        return
    for name, folder in {"home": home, "reports": report_dir}.items():
        if name == "reports" and folder == home:
            yield Finding("reports", FINE, "in the home")
            continue
        yield _folder(name, folder)
    closed = 0o007 if is_shared(home) else 0o077
    open_to_others = [path for path in _files(home) if _mode(path) & closed]
    if open_to_others:
        names = ", ".join(path.name for path in open_to_others[:3])
        more = f" and {len(open_to_others) - 3} more" if len(open_to_others) > 3 else ""
        chmod = f"find {quote(str(home))} -type f -exec chmod {'660' if is_shared(home) else '600'} {{}} +"
        yield Finding("permissions", WARNING, f"others may read {names}{more}", chmod)
    elif os.path.isdir(home):
        whom = "the shared group" if is_shared(home) else "their owner"
        yield Finding("permissions", FINE, f"files are readable by {whom} only")


def _folder(name: str, folder: Path) -> Finding:
    shown = shown_path(folder)
    if not os.path.lexists(folder):
        return Finding(name, NOTE, f"{shown} does not exist yet; the first run creates it")
    if not os.path.isdir(folder):
        return Finding(name, ERROR, f"{shown} is a file", "move it away, or set PERFDB_HOME to a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        advice = f"chown it to {_user()}, or set PERFDB_HOME to a folder that can be written"
        return Finding(name, ERROR, f"{shown} cannot be written: runs are not recorded", advice)
    if name == "home" and _mode(folder) & (0o007 if is_shared(folder) else 0o077):
        mode = "2770" if is_shared(folder) else "700"
        return Finding(name, WARNING, f"{shown} is open to others", f"chmod {mode} {quote(str(folder))}")
    return Finding(name, FINE, shown)


def _files(home: Path) -> list[Path]:
    folders = (home, home / "journal")
    return [
        path
        for folder in folders
        if os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)
        for path in sorted(folder.iterdir())
        if path.is_file()
    ]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def _user() -> str:
    import getpass

    return getpass.getuser()


def look_at_disk(home: Path, kind: str | None = None) -> Iterator[Finding]:
    """Say what the folder lies on and how much room there is; ``kind``: of the file system, if known."""
    kind = kind or file_system(home)
    local = (
        "PERFDB_HOME=/a/local/folder, or one PostgreSQL for all: PERFDB_DATABASE_URL=postgresql://host/name"
    )
    if kind is None:
        yield Finding("file system", NOTE, "of an unknown kind")
    elif kind.lower() in NETWORK:
        found = f"{kind}: locks and shared memory, which SQLite needs, do not work between its hosts"
        yield Finding("file system", WARNING, found, local)
    elif kind.lower() in VANISHING:
        yield Finding("file system", NOTE, f"{kind}: everything is lost when the machine restarts")
    else:
        yield Finding("file system", FINE, kind)
    free, files = _room(home)
    if free < LITTLE_BYTES or files < FEW_FILES:
        state = ERROR if free < TOO_LITTLE_BYTES or not files else WARNING
        advice = "free some, or run perfdb prune --older-than 90d; records that do not fit are lost"
        yield Finding("space", state, f"{size_text(free)} and {files:,} files left", advice)
    else:
        yield Finding("space", FINE, f"{size_text(free)} left")


def _room(folder: Path) -> tuple[int, int]:
    """Return the bytes and the number of files that fit on the disk of a folder."""
    place = _nearest(folder)
    disk = os.statvfs(place)
    return shutil.disk_usage(place).free, disk.f_favail if disk.f_files else FEW_FILES


def file_system(path: Path) -> str | None:
    """Return the kind of the file system that a path lies on, None when that is unknown."""
    import psutil

    place = str(_nearest(path).resolve())
    found = [
        (len(each.mountpoint), each.fstype)
        for each in psutil.disk_partitions(all=True)
        if place == each.mountpoint or place.startswith(each.mountpoint.rstrip("/") + "/")
    ]
    return max(found)[1] or None if found else None


def _nearest(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if os.path.exists(each))


# --- the database and what is on its way --------------------------------------------------------------


def look_at_database(settings: Settings, *, explicit: bool) -> Iterator[Finding]:
    """Say whether the database can be used, is whole, and has what was recorded."""
    from perfdb.store.database import Database
    from perfdb.store.engine import ALL_ERRORS, shown_url, sqlite_path
    from perfdb.store.upkeep.inspection import read_facts

    if not explicit and doubt_about_home(settings.home, trust_for(settings)) is not None:
        return  # said of the home
    path = sqlite_path(settings.database_url)
    shown = shown_path(path) if path else shown_url(settings.database_url)
    if path is not None and not os.path.exists(path):
        if explicit:
            yield Finding(
                "database", ERROR, f"there is none at {shown}", "correct the path or PERFDB_DATABASE_URL"
            )
        else:
            yield Finding("database", NOTE, f"{shown} does not exist yet; the first run creates it")
        yield from look_at_journals(settings.home, None)
        return
    yield Finding("database", FINE, shown + (f", {size_text(path.stat().st_size)}" if path else ""))
    if path is not None:
        yield from _look_at_log(path)
    facts: Facts | None = None
    try:
        with (
            Database(settings.database_url, migrates=False) as database,
            database.reading(checked=False) as connection,
        ):
            yield from look_for_damage(connection)
            schema = look_at_schema(connection)
            yield schema
            if schema.state == FINE:
                facts = read_facts(connection)
                yield from look_at_facts(facts, time.time())
                yield from look_at_rules(connection, settings)
                yield from look_at_messages(connection, time.time())
                yield from look_for_silent_hosts(connection, settings.home)
                yield from look_at_daily_figures(connection)
    except (PerfdbError, *ALL_ERRORS, OSError) as error:
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        # of our own errors the first half: what to do is said by the advice
        yield Finding("database", ERROR, f"cannot be read: {cause.partition('; ')[0]}", _remedy(cause, path))
    yield from look_at_journals(settings.home, facts)


def _remedy(cause: str, path: Path | None) -> str:
    kept = "meanwhile, new records stay in the journals"
    if path is None:
        return f"check that the server runs and accepts your login; {kept}"
    if "locked" in cause:
        return f"a program holds the lock (fuser {path} names it): end it; {kept}"
    return f"perfdb restore BACKUP, which moves it aside, or move it away and go on with a new one; {kept}"


def _look_at_log(path: Path) -> Iterator[Finding]:
    from perfdb.store.engine import log_bytes

    size = log_bytes(path)
    if size > LONG_LOG_BYTES:
        advice = f"stop the program that keeps it open, such as a notebook or browser (fuser {path} names it)"
        yield Finding("log", WARNING, f"the write-ahead log has grown to {size_text(size)}", advice)
    else:
        yield Finding("log", FINE, f"write-ahead log of {size_text(size)}")


def look_for_damage(connection: Connection) -> Iterator[Finding]:
    """Say whether SQLite finds its file whole."""
    from perfdb.store.upkeep.inspection import find_damage

    damage = find_damage(connection)
    if damage:
        advice = "perfdb export what can be read, then perfdb restore BACKUP; journals and reports are kept"
        yield Finding("integrity", ERROR, "; ".join(damage), advice)
    elif damage is not None:
        yield Finding("integrity", FINE, "quick_check finds no damage")


def look_at_schema(connection: Connection) -> Finding:
    """Say whether the tables are those of this perfdb."""
    from perfdb.errors import NewerSchemaError, SchemaError
    from perfdb.store.schema import HEAD, require_schema

    try:
        require_schema(connection)
    except NewerSchemaError as error:
        return Finding(
            "schema", ERROR, str(error), "pip install -U perfdb; the journals keep what is recorded"
        )
    except SchemaError as error:
        return Finding("schema", WARNING, str(error), "perfdb backup FILE, then perfdb db upgrade")
    return Finding("schema", FINE, f"{HEAD}, the one of this perfdb")


def look_at_daily_figures(connection: Connection) -> Iterator[Finding]:
    """Say so if the figures of the newest days are not those of their runs: another program changed these."""
    from perfdb.store.rollups import wrong_days

    wrong = wrong_days(connection, most=_DAYS_CHECKED)
    if wrong:
        found = f"{counted(len(wrong), 'day')} of the newest {_DAYS_CHECKED} are not what their runs are"
        yield Finding("daily figures", WARNING, found, "perfdb db reindex computes them anew")


def look_at_facts(facts: Facts, now: float) -> Iterator[Finding]:
    """Say what the database knows of itself: how much, how old, by whose clock, what was lost."""
    newest = f", the newest of {local_time(facts.newest)}" if facts.newest is not None else ""
    yield Finding("history", FINE, counted(facts.sessions, "session") + newest)
    apart = 0.0 if facts.server_time is None else facts.server_time - now
    if facts.newest is not None and facts.newest > now + STUCK_S:
        found = f"the newest session began {duration_text(facts.newest - now)} after now"
        yield Finding(
            "clock", WARNING, found, "set the clock of the machine that recorded it, or of this one"
        )
    elif abs(apart) > CLOCKS_APART_S:
        found = f"the server's clock and this one are {duration_text(abs(apart))} apart"
        yield Finding("clock", WARNING, found, "let both follow a time server")
    else:
        yield Finding("clock", FINE, f"{local_time(now)}, later than every recorded session")
    lost = [
        text
        for number, text in (
            (facts.quarantined, f"{counted(facts.quarantined, 'line')} of journals could not be read"),
            (facts.orphans, f"{counted(facts.orphans, 'session')} without a beginning"),
        )
        if number
    ]
    yield Finding("drops", NOTE if lost else FINE, ", ".join(lost) or "every line of every journal was read")


def look_at_rules(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Name the rules about a pipeline, step, mode or measure that nothing has: they never fire."""
    import json

    from perfdb.alerts.config import read_alert_settings
    from perfdb.analysis.rules import EVERY
    from perfdb.store.browsing import names_of
    from perfdb.store.daily_measures import is_recorded

    known = {kind: names_of(connection, kind) for kind in ("pipeline", "step", "mode")}
    if not known["pipeline"]:
        return
    try:
        rules = read_alert_settings(settings.alerts, reading=True).rules
    except PerfdbError:
        return  # said of the settings
    for rule in rules:
        named = {"pipeline": rule.pipeline, "step": None if rule.step == EVERY else rule.step}
        lacking = [
            nothing_called(kind, name, known[kind], "the database")
            for kind, name in named.items()
            if name is not None and name not in known[kind]
        ]
        if not any(map(rule.is_of_mode, known["mode"])):
            mode = json.dumps(dict(rule.mode or ()), separators=(",", ":"))
            lacking.append(nothing_called("mode", mode, known["mode"], "the database"))
        if rule.metric not in FIXED and not is_recorded(connection, rule.of_measure):
            lacking.append(f"the measure {rule.metric!r} was never recorded: perfdb measures")
        for found in lacking:
            yield Finding(
                "rules", WARNING, inert(f"rule {rule.name}: {found}"),
                "correct it in your settings; until something is recorded under that name, it never fires",
            )  # fmt: skip


def look_at_messages(connection: Connection, now: float) -> Iterator[Finding]:
    """Say which alerts did not reach their channels."""
    from perfdb.store.upkeep.inspection import read_messages

    messages = read_messages(connection, now=now - STUCK_S, since=now - RECENT_S)
    for each in messages:
        troubles = [
            text
            for number, text in (
                (each.failed, f"{counted(each.failed, 'message')} given up within a week"),
                (each.in_vain, f"{counted(each.in_vain, 'message')} tried again and again, with pauses"),
                (
                    each.overdue,
                    f"{counted(each.overdue, 'message')} overdue, because no running program delivers them",
                ),
            )
            if number
        ]
        if troubles:
            last = f" ({each.last_error})" if each.last_error else ""
            advice = f"perfdb alerts test {each.channel}" if each.failed or each.in_vain else _SENT_NEXT
            yield Finding("delivery", WARNING, f"{each.channel}: {', '.join(troubles)}{last}", advice)
    if not messages:
        yield Finding("delivery", FINE, "no message had to be sent yet")


def look_for_silent_hosts(connection: Connection, home: Path) -> Iterator[Finding]:
    """Say which other hosts have running sessions in a shared database, and nothing is heard of them."""
    from perfdb.store.leases import silent_writers

    silent = silent_writers(connection, beside=[path.stem for path in journals_in(home / "journal")])
    if silent:
        named = ", ".join(sorted({each.host or "unknown" for each in silent}))
        running = counted(sum(each.sessions for each in silent), "session")
        found = (
            f"{running} listed as running on {named}, silent for up to {duration_text(silent[0].silent_s)}"
        )
        yield Finding("hosts", WARNING, found, "perfdb recover")


def look_at_journals(home: Path, facts: Facts | None) -> Iterator[Finding]:
    """Say what waits in the journals, whose writers live, and what lies beside them."""
    folder = home / "journal"
    paths, others = files_in(folder, SUFFIX)
    bad, further = files_in(folder, BAD_SUFFIX)
    if others := others + further:
        named = ", ".join(inert(path.name) for path in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        found = f"{named}{more} beside the journals: a link, a folder or the like, which nobody reads"
        yield Finding("journals", WARNING, found, f"move it out of {shown_path(folder)}")
    dead = [path for path in paths if not has_living_writer(path)]
    waiting = {path: _waiting_bytes(path, facts) for path in paths}
    if dead:
        held = size_text(sum(waiting[path] for path in dead))
        found = f"{counted(len(dead), 'journal')} of dead programs, {held} not in the database"
        yield Finding("journals", WARNING, found, "perfdb recover")
    stuck = [path for path in paths if path not in dead and waiting[path] and _age(path, facts) > STUCK_S]
    if stuck:
        oldest = duration_text(max(_age(path, facts) for path in stuck))
        held = size_text(sum(waiting[path] for path in stuck))
        advice = "tracker.health() in the program says why; nothing is lost while the disk has room"
        found = f"{counted(len(stuck), 'program')} cannot bring {held} to the database, for {oldest}"
        yield Finding("journals", WARNING, found, advice)
    if not dead and not stuck:
        living = f"{counted(len(paths), 'program')} recording now" if paths else "nobody records now"
        yield Finding("journals", FINE, f"{living}, nothing waits")
    if facts is not None:
        yield from _look_for_left_sessions(facts, {path.stem for path in paths})
    if bad:
        size = size_text(sum(path.stat().st_size for path in bad))
        advice = (
            f"run perfdb recover to retry them; inspect what remains, then remove it: {folder}/*{BAD_SUFFIX}"
        )
        yield Finding(
            "quarantine", WARNING, f"quarantined lines in {counted(len(bad), 'file')}, {size}", advice
        )
    else:
        yield Finding("quarantine", FINE, "no lines are quarantined")


def _offset(path: Path, facts: Facts | None) -> int:
    written = facts.journals.get(path.stem) if facts is not None else None
    return written.offset if written is not None else 0


def _waiting_bytes(path: Path, facts: Facts | None) -> int:
    try:
        return max(0, path.stat().st_size - _offset(path, facts))
    except OSError:  # its program has just ended in order
        return 0


def _age(path: Path, facts: Facts | None) -> float:
    """Return for how many seconds the first line that waits has been there."""
    record = next(records_behind(path, _offset(path, facts)), {})
    begun = record.get("created") or record.get("start_time")
    if not isinstance(begun, int | float):
        try:
            begun = path.stat().st_mtime
        except OSError:
            return 0.0
    return time.time() - begun - (record.get("duration") or 0.0)


def _look_for_left_sessions(facts: Facts, here: set[str]) -> Iterator[Finding]:
    left = {name: each.running for name, each in facts.journals.items() if each.running and name not in here}
    if facts.server_time is not None or not left:
        return  # of a server other hosts hold the journals: leases tell, and `perfdb recover` acts on them
    found = f"{counted(sum(left.values()), 'session')} listed as running, but without a journal in this home"
    yield Finding("sessions", WARNING, found, _LEFT)


# --- what is installed --------------------------------------------------------------------------------


def look_at_versions() -> Iterator[Finding]:
    """Say which versions work together here, and which extras are there."""
    import sqlite3

    from perfdb.version import __version__

    here = [f"perfdb {__version__}", f"Python {sys.version.split()[0]}", f"SQLite {sqlite3.sqlite_version}"]
    here += [f"{name} {found}" for name in ("sqlalchemy", "pandas", "numpy") if (found := _version(name))]
    yield Finding("versions", FINE, ", ".join(here))
    whole = [name for name, parts in EXTRAS.items() if all(map(_version, parts))]
    absent = [name for name in EXTRAS if name not in whole]
    found = f"{', '.join(whole) or 'none'} installed" + (f"; {', '.join(absent)} not" if absent else "")
    yield Finding("extras", FINE, found)


def look_for_old_module(*folders: Path) -> Iterator[Finding]:
    """Say whose ``performance_tracking.performance_tracker`` a program in one of these folders imports."""
    ours = Path(str(distribution("perfdb").locate_file(OLD_NAME)))
    for folder in dict.fromkeys(folders):
        old = folder / OLD_NAME
        for path in (old / "__init__.py", old / "performance_tracker.py", folder / f"{OLD_NAME}.py"):
            if os.path.isfile(path) and os.path.realpath(old) != os.path.realpath(ours):
                found = f"programs there import {shown_path(path)}; perfdb does not record them"
                advice = f"move it away, so that {OLD_NAME} is perfdb's; or import perfdb instead"
                yield Finding("old name", WARNING, found, advice)
                return
    if os.path.isfile(ours / "performance_tracker.py"):
        yield Finding("old name", FINE, f"{OLD_NAME}.performance_tracker is perfdb's")
    else:
        yield Finding("old name", NOTE, f"{OLD_NAME} is not installed beside perfdb", "import perfdb")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
