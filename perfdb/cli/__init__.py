"""The command line: `perfdb …`. Each command lives in its own file and is loaded when it is called.

Data goes to stdout, talk to stderr. Exit codes: 0 answered, 2 cannot answer, 130 interrupted;
1 is kept for the commands that check something and found it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from perfdb import __version__
from perfdb.cli.group import LazyGroup, discard_output, survive_any_stream
from perfdb.cli.text import inert
from perfdb.errors import PerfdbError
from perfdb.stopping import limited

MOST_STEPS = 100_000  # that one answer reads; of more the newest sessions are looked at, and that is said

# Texts are repeated here so that `perfdb --help` costs click alone; a test compares them.
SECTIONS = {
    "Try it": {
        "demo": ("perfdb.cli.demo", "Record 60 runs of the design pipeline, offline, and look at them."),
        "design": ("perfdb.cli.design", "Run the design pipeline on your own picture."),
    },
    "Read the history": {
        "sessions": ("perfdb.cli.sessions", "List the recorded sessions, newest first."),
        "steps": ("perfdb.cli.steps", "List the recorded steps, newest session first."),
        "show": ("perfdb.cli.show", "Show one session as a waterfall of its steps."),
        "chart": ("perfdb.cli.chart", "Draw the history as a picture."),
        "report": (
            "perfdb.cli.report",
            "Write sessions as one HTML file: pictures, figures and the data itself.",
        ),
    },
    "Understand it": {
        "bottlenecks": (
            "perfdb.cli.bottlenecks",
            "Rank the steps by the seconds they put on the critical path.",
        ),
        "trends": ("perfdb.cli.trends", "Show how long each step takes, and where that is going."),
        "regressions": ("perfdb.cli.regressions", "Find where steps became slower for good, and why."),
        "explain": ("perfdb.cli.explain", "Say why a session was slow: each step beside its own past."),
        "compare": (
            "perfdb.cli.compare",
            "Compare two sessions, or two groups of sessions by an attribute.",
        ),
        "failures": ("perfdb.cli.failures", "Count why runs failed or were called off."),
        "violations": ("perfdb.cli.violations", "List the runs that broke a limit, newest first."),
        "thresholds": ("perfdb.cli.thresholds", "Find good limits for rules of kind max."),
    },
    "Be told": {
        "baseline": ("perfdb.cli.baseline", "Pin what runs are held against; alone, list what is pinned."),
        "alerts": (
            "perfdb.cli.alerts",
            "See what fires and decide about it; alone, list the open alerts.",
        ),
        "rules": (
            "perfdb.cli.rules",
            "List the rules: what each watches, its state, its alerts and how many of them were true.",
        ),
        "check": ("perfdb.cli.check", "Fail when an alert fires: exit 0 quiet, 1 firing, 2 cannot answer."),
        "watch": ("perfdb.cli.watch", "Watch running sessions and open alerts; q or Ctrl-C ends it."),
        "serve": (
            "perfdb.cli.serve",
            "Serve the dashboard: a page over the history that you can leave open.",
        ),
    },
    "Change it": {
        "tag": ("perfdb.cli.tag", "Give a session a tag, such as warmup or ignore."),
        "untag": ("perfdb.cli.untag", "Take a tag from a session."),
        "delete": ("perfdb.cli.delete", "Delete sessions from the database."),
    },
    "Move it": {
        "import": ("perfdb.cli.import_reports", "Take JSON reports into the database."),
        "export": ("perfdb.cli.export", "Write the history as JSON, CSV or Parquet."),
    },
    "Keep it in order": {
        "doctor": (
            "perfdb.cli.doctor",
            "Look at everything that perfdb needs here; exit 1 when something needs a hand.",
        ),
        "config": ("perfdb.cli.config", "Show every setting, its value and where that comes from."),
        "prune": ("perfdb.cli.prune", "Delete old sessions in small pieces, while others write."),
        "backup": ("perfdb.cli.backup", "Copy the database into FILE while programs record into it."),
        "restore": ("perfdb.cli.restore", "Put the backup FILE in the place of the database."),
        "recover": ("perfdb.cli.recover", "Take in what programs that died have left in the journal."),
        "db": ("perfdb.cli.database", "Look after the database's tables."),
    },
}


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="perfdb", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep the performance history of pipelines: what is slow, since when and why.

    Commands work on performance_tracking/ of this folder or of one above it; PERFDB_HOME or
    PERFDB_DATABASE_URL name another place.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; what can be expected to go wrong becomes one line."""
    survive_any_stream()
    try:
        with limited(steps=MOST_STEPS) as left_out:
            try:
                code = cli.main(arguments, prog_name="perfdb", standalone_mode=False)
            finally:
                for sentence in dict.fromkeys(left_out):
                    click.echo(sentence, err=True)
    except PerfdbError as error:
        click.echo("perfdb: " + inert(" ".join(str(error).split())), err=True)
        code = 2
    except click.ClickException as error:
        error.show()
        code = 2
    except click.Abort:
        click.echo("perfdb: interrupted", err=True)
        code = 130
    except BrokenPipeError:
        discard_output()
        code = 0
    except OSError as error:
        named = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        click.echo("perfdb: " + inert(f"{named}{error.strerror or error}"), err=True)
        code = 2
    except Exception:  # a bug of ours; 1 would mean to a script that something was found
        sys.excepthook(*sys.exc_info())
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
