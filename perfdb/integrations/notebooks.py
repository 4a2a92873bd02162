"""``%load_ext perfdb`` and ``%%perfdb NAME``: a notebook's cell as a step, with its waterfall below it."""

from __future__ import annotations

import ast
import time
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.display import HTML, display

from perfdb.guard import raise_foreign
from perfdb.pages.session import session_html
from perfdb.recorder import current, track
from perfdb.recording.step import Step
from perfdb.recording.tracker import Tracker

PIPELINE = "notebook"


def load(shell: Any) -> None:
    """Teach a shell the magic."""
    shell.register_magic_function(lambda line, cell: _run(shell, line, cell), "cell", "perfdb")


def _run(shell: Any, line: str, cell: str) -> None:
    name = line.strip()
    if name[:1] in ("'", '"') and name.count(name[0]) == 2 and name.endswith(name[0]):
        name = name[1:-1]
    name = name or "cell"
    outer = current()
    if isinstance(outer, (Step, Tracker)):  # a session that an earlier cell began
        tracker: Any = outer._tracker if isinstance(outer, Step) else outer
        try:
            with outer.step(name):
                _execute(shell, cell)
        finally:
            _show(tracker)
        return
    with track(PIPELINE, console=False) as tracker:
        try:
            with tracker.step(name):
                _execute(shell, cell)
        except BaseException as error:
            tracker.end_pipeline(error=error)
            raise
        else:
            tracker.end_pipeline()
        finally:
            _show(tracker)


def _execute(shell: Any, cell: str) -> None:
    """Run a cell as IPython does: what its last expression is worth is shown, unless a semicolon ends it."""
    source = shell.transform_cell(cell)
    name = shell.compile.cache(source)
    tree = shell.transform_ast(shell.compile.ast_parse(source, filename=name))
    last = [tree.body.pop()] if tree.body and isinstance(tree.body[-1], ast.Expr) else []
    exec(compile(tree, name, "exec"), shell.user_ns)  # noqa: S102 (what the cell is for)
    if last:
        is_silent = DisplayHook.semicolon_at_end_of_expression(source)  # type: ignore[no-untyped-call]
        shown = ast.Module(last, []) if is_silent else ast.Interactive(last)
        exec(compile(shown, name, "exec" if is_silent else "single"), shell.user_ns)  # noqa: S102


def _show(tracker: Tracker) -> None:
    try:
        if (session := tracker.session) is not None:
            display(HTML(session_html(session, now=time.time())))  # type: ignore[no-untyped-call]
    except Exception as error:
        raise_foreign(error)
        tracker._health.failed("showing a cell", error)
