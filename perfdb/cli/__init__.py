"""The command line: `perfdb …`. Each command lives in its own file and is loaded when it is called.

Data goes to stdout, talk to stderr. Exit codes: 0 answered, 2 cannot answer, 130 interrupted;
1 is kept for the commands that check something and found it.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from perfdb.cli.group import LazyGroup, discard_output, discard_unwritable_output, survive_any_stream
from perfdb.cli.paging import paged
from perfdb.cli.text import inert
from perfdb.errors import PerfdbError
from perfdb.stopping import limited
from perfdb.version import SCHEMA, __version__

MOST_STEPS = 100_000  # that one answer reads; of more the newest sessions are looked at, and that is said

# Imports make a hundred thousand objects that stay: by default Python looks for garbage among them every 700.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000

# numpy's algebra shares out vectors of 10,000 values among threads that wait for each other by spinning: on a
# busy machine that takes ten times as long as one thread does, and a hundred times for a product.
_THREADS_OF_ALGEBRA = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# Texts are repeated here so that `perfdb --help` costs click alone; a test compares them.
SECTIONS = {
    "Try it": {
        "demo": ("perfdb.starting.demo", "Record 60 runs of the design pipeline offline, then explore them."),
        "design": ("perfdb.starting.design", "Run the design pipeline on your own picture."),
    },
    "Read the history": {
        "sessions": ("perfdb.cli.sessions", "List the recorded sessions, newest first."),
        "steps": ("perfdb.cli.steps", "List the recorded steps, newest session first."),
        "show": ("perfdb.cli.show", "Show one session as a waterfall of its steps."),
        "chart": ("perfdb.cli.chart", "Draw a chart of the history."),
        "report": (
            "perfdb.cli.report",
            "Write sessions to one HTML file with charts, figures and the data.",
        ),
    },
    "Understand it": {
        "bottlenecks": (
            "perfdb.cli.bottlenecks",
            "Rank steps by their seconds on the critical path.",
        ),
        "measures": ("perfdb.cli.measures", "List what was measured: every number that was recorded."),
        "trends": ("perfdb.cli.trends", "Show how long each step takes, and its trend."),
        "regressions": ("perfdb.cli.regressions", "Find when steps became permanently slower, and why."),
        "explain": ("perfdb.cli.explain", "Explain why a session was slow, step by step against its past."),
        "compare": (
            "perfdb.cli.compare",
            "Compare two sessions, or two groups of sessions by attribute.",
        ),
        "common": (
            "perfdb.cli.common",
            "Show what slow runs have in common, such as customer=acme.",
        ),
        "hits": (
            "perfdb.cli.hits",
            "Show whom a move hits: how much the runs with each value moved at WHEN, beside all the others.",
        ),
        "failures": ("perfdb.cli.failures", "Count the reasons why runs failed or were cancelled."),
        "violations": ("perfdb.cli.violations", "List runs that violated a limit, newest first."),
        "thresholds": ("perfdb.cli.thresholds", "Suggest limits for rules of kind max or min."),
    },
    "Monitor it": {
        "baseline": ("perfdb.cli.baseline", "Pin baselines; without a command, list the pinned ones."),
        "alerts": (
            "perfdb.cli.alerts",
            "Show and manage alerts; without a command, list the open ones.",
        ),
        "rules": (
            "perfdb.cli.rules",
            "List the rules with their state, alerts and precision.",
        ),
        "check": ("perfdb.cli.check", "Fail if an alert is firing: exit 0 quiet, 1 firing, 2 cannot answer."),
        "watch": (
            "perfdb.cli.watch",
            "Watch running sessions with their steps, and open alerts; press q or Ctrl-C to quit.",
        ),
        "serve": (
            "perfdb.starting.serve",
            "Serve the dashboard, which shows the history in a browser.",
        ),
        "mcp": (
            "perfdb.cli.mcp",
            "Answer an agent's questions over stdin and stdout (Model Context Protocol).",
        ),
    },
    "Change it": {
        "tag": ("perfdb.cli.tag", "Add a tag to a session, such as warmup or ignore."),
        "untag": ("perfdb.cli.untag", "Remove a tag from a session."),
        "annotate": (
            "perfdb.cli.annotate",
            'Note an event, such as a deployment: perfdb annotate "deploy 1.4".',
        ),
        "annotations": (
            "perfdb.cli.annotations",
            "List annotations, oldest first; perfdb annotate adds one.",
        ),
        "delete": ("perfdb.cli.delete", "Delete sessions from the database."),
    },
    "Import and export": {
        "import": ("perfdb.cli.import_reports", "Import JSON reports into the database."),
        "export": (
            "perfdb.cli.export",
            "Export the history as JSON, CSV or Parquet, or as traces: otlp, chrome, speedscope.",
        ),
    },
    "Maintain it": {
        "doctor": (
            "perfdb.cli.doctor",
            "Check the installation; exit 1 if something needs attention.",
        ),
        "config": ("perfdb.cli.config", "Show every setting, its value and where the value comes from."),
        "prune": ("perfdb.cli.prune", "Delete old sessions in small batches while programs record."),
        "backup": ("perfdb.cli.backup", "Copy the database to FILE while programs record."),
        "restore": ("perfdb.cli.restore", "Replace the database with the backup FILE."),
        "recover": (
            "perfdb.cli.recover",
            "Recover journal records of dead programs, and send the alerts that wait.",
        ),
        "archive": (
            "perfdb.cli.archive",
            "Push sessions that have ended to LAKE: a folder, s3://bucket/lake, or another object store.",
        ),
        "lake": (
            "perfdb.cli.lake",
            "Seal, inspect and maintain a lake, to which many hosts push (perfdb archive).",
        ),
        "db": ("perfdb.cli.database", "Manage the database schema and copy databases."),
    },
}


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="perfdb", message=f"%(prog)s %(version)s (schema {SCHEMA})")
def cli() -> None:
    """Performance history of pipelines: what is slow, since when and why.

    Commands use performance_tracking/ in the current directory or the nearest one above it. Set PERFDB_HOME
    or PERFDB_DATABASE_URL to use another place.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; what can be expected to go wrong becomes one line."""
    survive_any_stream()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if "OMP_NUM_THREADS" not in os.environ:  # which says it for all of them
        for name in _THREADS_OF_ALGEBRA:
            os.environ.setdefault(name, "1")  # read when numpy is imported
    try:
        with limited(steps=MOST_STEPS) as left_out:
            try:
                with paged(sys.argv[1:] if arguments is None else arguments):
                    code = cli.main(arguments, prog_name="perfdb", standalone_mode=False)
            finally:
                for sentence in dict.fromkeys(left_out):
                    _say(sentence)
    except PerfdbError as error:
        discard_unwritable_output()
        _say(f"perfdb: {' '.join(str(error).split())}")
        code = 2
    except click.ClickException as error:
        vars(error)["message"] = "\n".join(
            line[: len(line) - len(line.lstrip("\t"))] + inert(line.lstrip("\t"))
            for line in error.message.split("\n")
        )
        error.show()
        code = 2
    except click.Abort:
        click.echo("perfdb: interrupted", err=True)
        code = 130
    except BrokenPipeError:
        discard_output()
        code = 0
    except OSError as error:
        discard_unwritable_output()
        named = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        _say(f"perfdb: {named}{error.strerror or error}")
        code = 2
    except Exception as error:
        if _is_out_of_memory(error):
            click.echo("perfdb: out of memory: ask for less (--last), or give this process more", err=True)
        else:  # a bug of ours
            sys.excepthook(*sys.exc_info())
        code = 2  # 1 would mean to a script that something was found
    sys.exit(code if isinstance(code, int) else 0)


def _say(sentence: str) -> None:
    from perfdb.cli.render import print_sentence

    print_sentence(sentence, err=True)


def _is_out_of_memory(error: Exception) -> bool:
    """Tell it of Python and of the loader, which says so of a library that it cannot map."""
    if isinstance(error, ImportError):
        return "failed to map segment" in str(error) or "allocate memory" in str(error)
    return isinstance(error, MemoryError)
