"""What a person sees of a session: a line as each step starts and ends, and the summary.

Lines are the seed's, letter for letter. Standard output is looked up at each write; whatever
is wrong with it (closed, a broken pipe, an encoding without emoji) never reaches the pipeline.
On a terminal, and only there, a step that takes long gets a live line with its usual duration.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
import time
import weakref
from collections.abc import Callable, Sequence

from perfdb.guard import raise_foreign
from perfdb.recording.native import Flag, RLock, Thread, leave_signals_to_the_host, load
from perfdb.surroundings import variable
from perfdb.text import one_line

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

    from perfdb.records import Session

LONG_STEP_S = 1.0  # before this a live line would only flicker
_REDRAW_S = 0.25
_WAIT_FOR_END_S = 0.5
_ERASE = "\r\x1b[K"
_RESET = "\x1b[0m"
_COLOURS = {
    "🚀": "\x1b[1m",
    "📊": "\x1b[1m",
    "📋": "\x1b[1m",
    "📈": "\x1b[1m",
    "❌": "\x1b[31m",
    "⚠": "\x1b[33m",
    "⏹": "\x1b[33m",
}
_ASCII = {
    "🚀": "[start]", "⚡": "[mode]", "🔍": "[step]", "✅": "[ok]", "❌": "[failed]", "⏳": "[running]",
    "⏹️": "[interrupted]", "⚠️": "[alert]", "📊 ": "", "📋 ": "", "📈 ": "", "×": "x", "…": "...", "›": ">",
}  # fmt: skip


class _OpenStep:
    __slots__ = ("asked", "depth", "name", "started", "usual")

    def __init__(self, name: str, depth: int, started: float) -> None:
        self.name = name
        self.depth = depth
        self.started = started
        self.usual: float | None = None
        self.asked = False


class Console:
    """Prints what happens in a session to standard output, one write per line.

    Args:
        usual: gives the usual seconds of a step by its name, or None; asked once per long step,
            from the thread of the live line.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        usual: Callable[[str], float | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.usual = usual
        self._clock = clock
        self._forget()

    def _forget(self) -> None:
        self._lock = RLock()  # on a terminal only; a signal handler may print in between
        self._open: list[_OpenStep] = []
        self._ticker: Thread | None = None
        self._wake = Flag()
        self._ends = False  # the ticker is to end, and no other one to begin
        self._drawn = False

    def session_started(self, session_id: str, fast_mode: bool | None) -> None:
        """Announce a session; one without a fast mode has no line for it."""
        text = f"🚀 Performance tracking started (Session: {one_line(session_id)})"
        self._print(text if fast_mode is None else f"{text}\n   ⚡ Fast mode: {fast_mode}")

    def step_started(self, name: str, depth: int = 0, detail: str = "") -> None:
        """Print that a step starts; ``depth`` 0 is a step of the session itself.

        ``detail`` tells it from others of its name.
        """
        self._print(f"{_indent(depth)}🔍 Starting step: {_called(name, detail)}")
        if _draws_on(sys.stdout):
            with self._lock:
                self._open.append(_OpenStep(name, depth, self._clock()))
            self._ensure_ticker()

    def step_completed(self, name: str, duration: float, depth: int = 0, detail: str = "") -> None:
        """Print that a step ended well, after ``duration`` seconds."""
        self._close(name, depth)
        self._print(f"{_indent(depth)}✅ Completed step: {_called(name, detail)} ({duration:.2f}s)")

    def step_failed(self, name: str, duration: float, message: str, depth: int = 0, detail: str = "") -> None:
        """Print that a step failed, with the first line of its error."""
        self._close(name, depth)
        text = f"{_indent(depth)}❌ Failed step: {_called(name, detail)} ({duration:.2f}s)"
        self._print(f"{text}: {one_line(message)}" if message else text)

    def step_interrupted(
        self, name: str, duration: float, reason: str, depth: int = 0, detail: str = ""
    ) -> None:
        """Print that a step was called off, with the first line of the reason."""
        self._close(name, depth)
        text = f"{_indent(depth)}⏹️ Interrupted step: {_called(name, detail)} ({duration:.2f}s)"
        self._print(f"{text}: {one_line(reason)}" if reason else text)

    def note(self, text: str) -> None:
        """Print a remark of perfdb's own."""
        self._print(f"perfdb: {one_line(text)}")

    def summary(self, session: Session, alerts: Sequence[str] = ()) -> str:
        """Return the summary as text, without colour."""
        load("perfdb.recording.summary")
        from perfdb.recording.summary import summary

        return summary(session, alerts)

    def print_summary(self, session: Session, alerts: Sequence[str] = ()) -> None:
        """Print the summary in one write, with the messages of ``alerts`` at its end."""
        self._print(self.summary(session, alerts))

    def _print(self, text: str) -> None:
        stream = sys.stdout
        if _coloured(stream):
            text = "\n".join(map(_painted, text.split("\n")))
        text = _printable_on(stream, f"{text}\n")
        if not _draws_on(stream):
            _write(stream, text)
            return
        with self._lock:
            erase, self._drawn = (_ERASE if self._drawn else ""), False
            _write(stream, erase + text)

    # -- the live line -------------------------------------------------------------

    def _close(self, name: str, depth: int) -> None:
        if not self._open:
            return
        with self._lock:
            for step in self._open:
                if (step.name, step.depth) == (name, depth):
                    self._open.remove(step)
                    return

    def _tick(self) -> None:
        leave_signals_to_the_host()
        try:
            self._redraw()
        except Exception:  # the live line goes, the steps stay
            return

    def _ensure_ticker(self) -> None:
        with self._lock:
            if self._ends or not self._open or (self._ticker is not None and self._ticker.is_alive):
                return
            ticker = self._ticker = Thread(self._tick)
            _note_console(self)
        try:
            ticker.start()
        except RuntimeError as error:  # no thread can be started: the line goes
            raise_foreign(error)

    def end_ticker(self) -> None:
        """Have the thread of the live line end; none begins."""
        self._ends = True
        self._wake.set()

    def wait_for_ticker(self) -> None:
        """Wait for that; not for one that looks into a database, or writes to a stopped terminal."""
        if self._ticker is not None and not self._ticker.is_current:
            self._ticker.join(_WAIT_FOR_END_S)

    def go_on(self) -> None:
        """Let the thread begin again, and begin it when steps are open."""
        self._ends = False
        self._ensure_ticker()

    def _redraw(self) -> None:
        """Redraw the live line until no step has been open for one round."""
        idle = False
        while not self._ends:
            self._wake.wait(_REDRAW_S)
            if self._ends:
                return
            with self._lock:
                if not self._open:
                    if idle and self._ticker is not None:
                        self._ticker.leave()
                        return
                    idle = True
                    continue
                idle = False
                shown = [step for step in self._open if self._clock() - step.started >= LONG_STEP_S]
            self._ask_usual(shown)  # outside of the lock: it may look into a database
            with self._lock:
                shown = [step for step in shown if step in self._open]
                if shown:
                    self._draw(sys.stdout, shown)

    def _silence(self) -> None:
        self.end_ticker()
        self.wait_for_ticker()
        if self._lock.acquire(timeout=0.5):  # a stopped terminal may hold it for ever
            try:
                self._open.clear()
                if self._drawn:
                    _write(sys.stdout, _ERASE)
            finally:
                self._lock.release()

    def _ask_usual(self, shown: list[_OpenStep]) -> None:
        for step in shown:
            if not step.asked and self.usual is not None:
                step.asked = True
                try:
                    step.usual = self.usual(step.name)
                except Exception:  # the line goes without
                    step.usual = None

    def _draw(self, stream: Any, shown: list[_OpenStep]) -> None:
        if not _draws_on(stream):
            return
        outer = min(shown, key=lambda step: (step.depth, step.started))
        inner = max(shown, key=lambda step: (step.depth, step.started))
        text = f"   ⏳ {self._progress(outer)}"
        if inner.depth > outer.depth:
            text += f" › {self._progress(inner)}"
        line = _cut(_printable_on(stream, text), _width(stream) - 1)
        # the cursor goes back, so that a line of the host's own starts where it should
        _write(stream, f"{_ERASE}{line}\r")
        self._drawn = True

    def _progress(self, step: _OpenStep) -> str:
        elapsed = f"{one_line(step.name)} {_seconds(self._clock() - step.started)}"
        return f"{elapsed} of ~{_seconds(step.usual)}" if step.usual else elapsed


# Those that have drawn a live line. No WeakSet: a signal handler that raises in its callback is not heard.
_consoles: list[weakref.ref[Console]] = []


def _note_console(console: Console) -> None:
    others = [each for each in _consoles if each() is not None and each() is not console]
    _consoles[:] = [*others, weakref.ref(console)]


def _living_consoles() -> list[Console]:
    return [console for each in list(_consoles) if (console := each()) is not None]


def end_tickers() -> None:
    """End the threads of the live lines: the process is about to fork."""
    consoles = _living_consoles()
    for console in consoles:
        console.end_ticker()
    for console in consoles:
        console.wait_for_ticker()


def tickers_go_on() -> None:
    """Let them begin again."""
    for console in _living_consoles():
        console.go_on()


def _forget_in_child() -> None:
    # the ticker does not live on in a forked child, and its lock may have been held
    for console in _living_consoles():
        console._forget()


def _silence_at_exit() -> None:
    # a daemon thread that writes while the interpreter ends can abort the process
    for console in _living_consoles():
        console._silence()


atexit.register(_silence_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _called(name: str, detail: str) -> str:
    return f"{one_line(name)}: {one_line(detail)}" if detail else one_line(name)


def _indent(depth: int) -> str:
    return "   " * (1 + min(depth, 20))


def _write(stream: Any, text: str) -> None:
    try:
        if _is_buffered_file(stream):  # what cannot be written would stay there, and fail the host's exit
            stream.flush()
            rest = text.encode(stream.encoding, stream.errors)
            while rest:
                rest = rest[os.write(stream.fileno(), rest) :]
            return
        stream.write(text)
        if "\x1b" in text or text.endswith("\r"):
            stream.flush()
    except BaseException as error:  # None, closed, full, a broken pipe, or somebody's own stream
        raise_foreign(error)


def _is_buffered_file(stream: Any) -> bool:
    """Say whether what is written to its descriptor is what it would write: as the interpreter opens them."""
    if type(stream) is not io.TextIOWrapper or "write" in vars(stream):
        return False
    buffer: Any = stream.buffer
    is_usual = type(buffer) is io.BufferedWriter and type(buffer.raw) is io.FileIO
    return is_usual and not "".encode(stream.encoding)  # else texts begin with a mark


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (OSError, ValueError, AttributeError) as error:
        raise_foreign(error)
        return False


def _draws_on(stream: Any) -> bool:
    return _is_terminal(stream) and variable("TERM") not in ("", "dumb")


def _coloured(stream: Any) -> bool:
    if variable("NO_COLOR"):
        return False
    if variable("FORCE_COLOR") not in ("", "0"):
        return True
    return _draws_on(stream)


def _painted(line: str) -> str:
    colour = _COLOURS.get(line.lstrip()[:1])
    return f"{colour}{line}{_RESET}" if colour else line


def _printable_on(stream: Any, text: str) -> str:
    """Return the text as the stream's encoding can hold it: first with words for emoji, then with escapes."""
    encoding = getattr(stream, "encoding", None)
    if not isinstance(encoding, str):
        return text
    try:
        text.encode(encoding)
        return text
    except (UnicodeError, LookupError) as error:
        raise_foreign(error)
    for mark, word in _ASCII.items():
        text = text.replace(mark, word)
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise_foreign(error)
        return text.encode("ascii", "backslashreplace").decode("ascii")


def _width(stream: Any) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError) as error:
        raise_foreign(error)
        return 80


def _cut(text: str, columns: int) -> str:
    """Return as much of the text as fits; a wide character takes two columns."""
    load("unicodedata")
    from unicodedata import east_asian_width

    used = 0
    for position, character in enumerate(text):
        used += 2 if east_asian_width(character) in "WF" else 1
        if used > columns:
            return text[:position]
    return text


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"
