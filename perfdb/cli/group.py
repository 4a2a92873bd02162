"""How commands are found and how output survives: lazy loading, broken pipes, odd encodings."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from perfdb.errors import PerfdbError

DATABASE = "perfdb.database"  # in click's meta: which one a command is to use
Sections = Mapping[str, Mapping[str, tuple[str, str]]]


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called.

    ``sections`` maps a heading to its commands: name → (module, help text). The
    module's ``command`` is the click command.
    """

    def __init__(self, *args: Any, sections: Sections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections
        self._modules = {
            name: module for commands in sections.values() for name, (module, _) in commands.items()
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or return None when there is none of this name."""
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        command = importlib.import_module(module).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.command is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown name is answered with the nearest one.

        Names are compared without importing anything: click's own suggestion may load every command.
        """
        if args and args[0] not in self._modules and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{_nearest(args[0], list(self._modules))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, from the texts given, importing nothing."""
        for heading, commands in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()], col_max=12)

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Read the arguments; `--help` is printed here."""
        try:
            return super().make_context(*arguments, **extra)
        except BrokenPipeError:  # click would end with 1
            discard_output()
            raise click.exceptions.Exit(0) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that went away (`| head`) is no error."""
        try:
            result = super().invoke(ctx)
            if not sys.stdout.closed:  # as the protocol of agents leaves it
                sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
            ctx.exit(0)
        except (PerfdbError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if (explained := _explained(ctx.meta.get(DATABASE), error)) is not None:
                raise explained from error
            raise
        return result


def _explained(database: str | None, error: Exception) -> PerfdbError | None:
    """Return what is wrong with the database that a command failed over; None when it is a bug of ours."""
    from perfdb.history.history import History

    try:
        return History(database).explained(error, certain=database is None)
    except Exception:  # the first error says more
        return None


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def survive_any_stream() -> None:
    """Let every character be printed, or fail: what the terminal's encoding lacks becomes an escape.

    Without a buffer (``PYTHONUNBUFFERED=1``, as in many containers), what a full disk or a limit took only a
    part of would be lost without a word. What was closed before is a stream to nowhere.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    is_own = sys.stdout is sys.__stdout__  # what a caller put there would be closed with ours
    if is_own and isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stdout.buffer, io.RawIOBase):
        buffer = io.BufferedWriter(sys.stdout.buffer)
        sys.stdout = io.TextIOWrapper(buffer, sys.stdout.encoding, sys.stdout.errors, line_buffering=True)


def discard_unwritable_output() -> None:
    """Send what stdout holds nowhere, if it cannot be written: a last flush would exit with 120."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        discard_output()


def discard_output() -> None:
    """Send the rest of stdout nowhere, so that the interpreter's last flush cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
