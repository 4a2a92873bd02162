"""The console: the seed's lines letter for letter, on any stream, and a live line on a real terminal.

Of: recording/summary.py.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from perfdb.recording.console import Console
from perfdb.records import Session, Step

SEED_LINES = """\
🚀 Performance tracking started (Session: 20250730_143022)
   ⚡ Fast mode: False
   🔍 Starting step: Vision Analysis
   ✅ Completed step: Vision Analysis (23.33s)
   🔍 Starting step: Product Search
   ✅ Completed step: Product Search (12.45s)
"""

SEED_SUMMARY = """\
============================================================
📊 PERFORMANCE SUMMARY
============================================================
Session ID: 20250730_143022
Fast Mode: False
Success: True
Products Found: 6
Total Duration: 45.23s

📋 Step Breakdown:
   ✅ Vision Analysis: 23.33s
   ✅ Product Search: 12.45s
   ✅ Composite Creation: 2.34s
   ✅ Image Generation: 7.11s

📈 Step Percentages:
   Vision Analysis: 51.6%
   Product Search: 27.5%
   Composite Creation: 5.2%
   Image Generation: 15.7%
"""

START = 1753885822.123456


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def step(name: str, begin: float, seconds: float | None, seq: int, **more: Any) -> Step:
    success = more.pop("success", None if seconds is None else True)
    return Step(step_name=name, start_time=START + begin, duration=seconds, seq=seq, success=success, **more)


def session(*steps: Step, total: float | None = 45.23, **more: Any) -> Session:
    known: dict[str, Any] = {
        "session_id": "20250730_143022", "pipeline": "design", "start_time": START, "total_duration": total,
        "status": "completed", "fast_mode": False, "success": True, "product_count": 6, "steps": steps,
    }  # fmt: skip
    return Session(**(known | more))


def seed_session() -> Session:
    return session(
        step("Vision Analysis", 0.0, 23.33, 0),
        step("Product Search", 23.33, 12.45, 1),
        step("Composite Creation", 35.78, 2.34, 2),
        step("Image Generation", 38.12, 7.11, 3),
    )


def summary_of(session: Session, *alerts: str) -> str:
    return Console().summary(session, alerts)


def section(session: Session, title: str) -> list[str]:
    return summary_of(session).split(f"{title}:\n", 1)[1].split("\n\n")[0].splitlines()


def say_the_seeds_lines(console: Console) -> None:
    console.session_started("20250730_143022", False)
    console.step_started("Vision Analysis", 0)
    console.step_completed("Vision Analysis", 23.333, 0)
    console.step_started("Product Search", 0)
    console.step_completed("Product Search", 12.449, 0)


# -- live lines ------------------------------------------------------------------------


def test_the_lines_are_the_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    say_the_seeds_lines(Console())
    assert capsys.readouterr().out == SEED_LINES


def test_a_failed_step_says_why_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Console().step_failed("Product Search", 1.234, "ValueError: no\nsecond line", 0)
    assert capsys.readouterr().out == "   ❌ Failed step: Product Search (1.23s): ValueError: no …\n"


def test_nested_steps_are_indented(capsys: pytest.CaptureFixture[str]) -> None:
    Console().step_started("Query", 2)
    assert capsys.readouterr().out == "         🔍 Starting step: Query\n"


def test_a_session_without_fast_mode_has_no_line_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    Console().session_started("x", None)
    assert capsys.readouterr().out == "🚀 Performance tracking started (Session: x)\n"


def test_control_characters_and_bidi_overrides_are_inert(capsys: pytest.CaptureFixture[str]) -> None:
    Console().step_failed("a\x1b[2Jb\u202ec\rd", 1.0, "\x07 " + "x" * 500, 0)
    out = capsys.readouterr().out
    assert out.startswith("   ❌ Failed step: a\\x1b[2Jb\\u202ec … (1.00s): \\x07 xxx")
    assert out.count("\n") == 1
    assert len(out) < 300


class OneWrite(io.StringIO):
    """Counts the writes."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        assert text.endswith("\n")
        return super().write(text)


def test_lines_of_many_threads_do_not_mix() -> None:
    console, stream = Console(), OneWrite()

    def work(name: str) -> None:
        for _ in range(50):
            console.step_started(name, 1)
            console.step_completed(name, 0.5, 1)

    with redirect_stdout(stream):
        threads = [threading.Thread(target=work, args=(f"step {n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert stream.writes == 4 * 50 * 2
    assert {line for line in stream.getvalue().splitlines() if "step 0" in line} == {
        "      🔍 Starting step: step 0",
        "      ✅ Completed step: step 0 (0.50s)",
    }


def test_standard_output_is_looked_up_at_each_write() -> None:
    console, first, second = Console(), io.StringIO(), io.StringIO()
    with redirect_stdout(first):
        console.note("one")
    with redirect_stdout(second):
        console.note("two")
    assert (first.getvalue(), second.getvalue()) == ("perfdb: one\n", "perfdb: two\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_an_encoding_without_emoji_gets_words(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    with redirect_stdout(stream):
        say_the_seeds_lines(Console())
        Console().step_failed("日本", 1.0, "bad \ud800", 0)
    assert raw.getvalue().decode("ascii").splitlines() == [
        "[start] Performance tracking started (Session: 20250730_143022)",
        "   [mode] Fast mode: False",
        "   [step] Starting step: Vision Analysis",
        "   [ok] Completed step: Vision Analysis (23.33s)",
        "   [step] Starting step: Product Search",
        "   [ok] Completed step: Product Search (12.45s)",
        "   [failed] Failed step: \\u65e5\\u672c (1.00s): bad \\ud800",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf16", "U32", "utf_16_le", "iso2022_jp"])
def test_a_file_holds_what_the_host_and_perfdb_print_in_their_order(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with open(path, "w", encoding=encoding) as file, redirect_stdout(file):
        print("host")
        Console().note("one")
        print("host")
        Console().note("two")
    lines = path.read_text(encoding).splitlines()
    assert [lines[0], lines[2], len(lines)] == ["host", "host", 4]
    assert ("one" in lines[1], "two" in lines[3]) == (True, True)
    assert not any("\ufeff" in line for line in lines)


def test_what_turns_bytes_into_others_gets_them_all(tmp_path: Path) -> None:
    class Secret(io.FileIO):
        def write(self, given: Any) -> int:
            return super().write(bytes(each ^ 1 for each in bytes(given)))

    path = tmp_path / "out"
    with io.TextIOWrapper(io.BufferedWriter(Secret(path, "w")), "utf-8") as file, redirect_stdout(file):
        print("host")
        Console().note("one")
    assert "one" in bytes(each ^ 1 for each in path.read_bytes()).decode()


def test_who_looks_on_at_what_is_written_sees_it(tmp_path: Path) -> None:
    seen: list[str] = []
    with open(tmp_path / "out", "w", encoding="utf-8") as file, redirect_stdout(file):
        file.write = seen.append  # type: ignore[assignment, method-assign]
        Console().note("one")
    assert "one" in "".join(seen)


def test_a_closed_a_missing_and_a_broken_stream_are_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", buffering=1, encoding="utf-8") as broken:
        for stream in (closed, None, object(), broken):
            monkeypatch.setattr(sys, "stdout", stream)
            say_the_seeds_lines(Console())
            Console().print_summary(seed_session())
            monkeypatch.undo()
        # what is buffered would fail once more when the file is closed
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, writing)
        os.close(null)


def test_there_is_no_colour_and_no_thread_away_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    Console().step_started("x", 0)
    assert threading.active_count() == before
    assert "\x1b" not in capsys.readouterr().out


def test_force_color_colours_and_no_color_wins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    Console().step_failed("x", 1.0, "no", 0)
    assert capsys.readouterr().out == "\x1b[31m   ❌ Failed step: x (1.00s): no\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    Console().step_failed("x", 1.0, "no", 0)
    assert "\x1b" not in capsys.readouterr().out


# -- on a real terminal ----------------------------------------------------------------


def on_terminal(code: str, *, columns: int = 80, **environ: str) -> str:
    """Run the code with a pseudo-terminal as its standard output and return all that it wrote."""
    import fcntl
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    prelude = "import time, threading\nfrom perfdb.recording.console import Console\n"
    child = subprocess.Popen(
        [sys.executable, "-c", prelude + code],
        stdout=follower,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", "PYTHONIOENCODING": "utf-8"} | environ,
        cwd=Path(__file__).parents[2],
    )
    os.close(follower)
    written = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # Linux says so when the last writer has gone
            break
        if not chunk:
            break
        written += chunk
    os.close(leader)
    errors = child.communicate()[1]
    assert (child.returncode, errors) == (0, b"")
    return written.decode().replace("\r\n", "\n")


LONG_STEP = """
clock = iter(range(0, 10_000, 12)).__next__  # each look at the clock finds 12 seconds gone
console = Console(usual=lambda name: 23.4, clock=clock)
console.step_started("Vision Analysis", 0)
time.sleep(0.6)
console.step_completed("Vision Analysis", 25.0, 0)
"""


def test_a_long_step_shows_its_usual_duration_until_it_ends() -> None:
    out = on_terminal(LONG_STEP)
    assert re.search(r"\r\x1b\[K   ⏳ Vision Analysis \d+ s of ~23 s\r", out)
    assert out.endswith("\r\x1b[K   ✅ Completed step: Vision Analysis (25.00s)\n")


def test_the_live_line_is_cut_at_the_width_of_the_terminal() -> None:
    out = on_terminal(LONG_STEP, columns=20)
    assert re.search(r"\r\x1b\[K   ⏳ Vision Analys\r", out)


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_dumb_terminal_gets_plain_lines_only(environ: dict[str, str]) -> None:
    out = on_terminal(LONG_STEP, **environ)
    assert out == "   🔍 Starting step: Vision Analysis\n   ✅ Completed step: Vision Analysis (25.00s)\n"


def test_the_ticker_ends_with_the_last_open_step() -> None:
    out = on_terminal(f"{LONG_STEP}\ntime.sleep(0.8)\nprint(threading.active_count())")
    assert out.endswith("\n1\n")


def test_a_failing_usual_duration_is_left_out() -> None:
    out = on_terminal(LONG_STEP.replace("lambda name: 23.4", "lambda name: 1 / 0"))
    assert re.search(r"⏳ Vision Analysis \d+ s\r", out)


def test_a_process_that_ends_with_a_step_open_leaves_a_clean_line() -> None:
    out = on_terminal(LONG_STEP.rsplit("\n", 2)[0])
    assert out.endswith("\r\x1b[K")


def test_a_forked_child_prints_on() -> None:
    fork = (
        "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: console.note('child'); os._exit(0)\n"
    )
    forked = LONG_STEP.replace("console.step_completed", f"{fork}console.step_completed")
    out = on_terminal("import perfdb\nperfdb.create_tracker()  # as every host does\n" + forked)
    assert "perfdb: child\n" in out


def test_no_color_on_a_terminal_is_honoured() -> None:
    code = "Console().step_failed('x', 1.0, 'no', 0)"
    assert "\x1b[31m" in on_terminal(code)
    assert "\x1b" not in on_terminal(code, NO_COLOR="1")


# -- summary ---------------------------------------------------------------------------


def test_the_summary_is_the_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    Console().print_summary(seed_session())
    assert capsys.readouterr().out == SEED_SUMMARY


def test_time_of_no_step_is_other() -> None:
    shares = section(session(step("a", 0.0, 5.0, 0), total=10.0), "📈 Step Percentages")
    assert shares == ["   a: 50.0%", "   Other: 50.0%"]


@pytest.mark.parametrize(("gap", "shown"), [(0.004, False), (0.006, True)])
def test_other_is_shown_from_a_tenth_of_a_percent_on(gap: float, shown: bool) -> None:
    text = summary_of(session(step("a", 0.0, 10.0 - gap, 0), total=10.0))
    assert ("Other: 0.1%" in text) == shown


def test_parallel_steps_share_wall_time_and_show_busy_time() -> None:
    shares = section(
        session(step("a", 0.0, 8.0, 0), step("b", 2.0, 8.0, 1), total=10.0), "📈 Step Percentages"
    )
    assert shares == ["   a: 20.0% (busy 8.00s)", "   b: 80.0%"]


def test_nested_steps_count_to_their_top_level_step() -> None:
    queries = [step("Product Query", 1.0 + n // 8, 1.0, n + 1, parent_seq=0) for n in range(16)]
    nested = session(step("Product Search", 0.0, 4.0, 0), *queries, total=4.0)
    assert section(nested, "📋 Step Breakdown") == [
        "   ✅ Product Search: 4.00s",
        "      ✅ Product Query: 16.00s (16×)",
    ]
    assert section(nested, "📈 Step Percentages") == [
        "   Product Search: 100.0%",
        "      Product Query: 2.00s on the critical path (busy 16.00s)",
    ]


def test_repeated_names_add_up_and_failures_are_marked() -> None:
    steps = [step("a", 0.0, 1.0, 0), step("b", 1.0, 1.23, 1, success=False), step("a", 3.0, 1.0, 2)]
    assert section(session(*steps, total=4.0), "📋 Step Breakdown") == [
        "   ✅ a: 2.00s (2×)",
        "   ❌ b: 1.23s",
    ]
    assert section(session(*steps, step("b", 4.0, 1.0, 3), total=5.0), "📋 Step Breakdown")[1] == (
        "   ❌ b: 2.23s (2×, 1 failed)"
    )


def test_a_failed_session_says_why() -> None:
    text = summary_of(
        session(total=1.0, status="failed", success=False, error_message="ValueError: no\nmore")
    )
    assert "Success: False\nError: ValueError: no …\nProducts Found: 6\nTotal Duration: 1.00s\n" in text


def test_a_running_session_says_so() -> None:
    text = summary_of(
        session(step("a", 0.0, 2.0, 0), step("b", 3.0, None, 1), total=None, status="running", success=None)
    )
    assert "Status: running\n" in text
    assert "Total Duration: 3.00s so far\n" in text
    assert "   ✅ a: 2.00s\n   ⏳ b: running\n" in text


def test_an_interrupted_step_is_no_success() -> None:
    text = summary_of(session(step("b", 0.0, None, 0), total=None, status="interrupted", success=None))
    assert "Status: interrupted\n" in text
    assert "   ❌ b: interrupted" in text


def test_a_session_of_no_seconds_divides_by_nothing() -> None:
    assert "   a: 0.0%" in summary_of(session(step("a", 0.0, 0.0, 0), total=0.0))


def test_other_pipelines_have_no_products_line_and_track_no_fast_mode() -> None:
    text = summary_of(session(pipeline="etl", product_count=None, fast_mode=None, total=1.0))
    assert "Products Found" not in text
    assert "Fast Mode" not in text
    assert "Products Found: 0" in summary_of(session(product_count=None, total=1.0))


def test_alerts_come_last() -> None:
    assert summary_of(seed_session(), "Vision Analysis 40 % slower").endswith(
        "15.7%\n\n   ⚠️ Vision Analysis 40 % slower"
    )


def test_a_crowd_of_names_is_cut_short() -> None:
    crowd = session(*(step(f"s{n}", n / 10, 0.1, n) for n in range(500)), total=50.0)
    assert section(crowd, "📋 Step Breakdown")[-1] == "   … and 400 more lines: see the report"


def test_ten_thousand_nested_steps_need_no_recursion() -> None:
    deep = [step("s", 0.0, 10.0, n, parent_seq=n - 1 if n else None) for n in range(10_000)]
    assert "s: 100.0%" in summary_of(session(*deep, total=10.0))


def test_a_detail_tells_steps_of_one_name_apart(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.step_started("Product Query", 1, "grey sofa")
    console.step_completed("Product Query", 0.5, 1, "grey sofa")
    console.step_failed("Product Query", 0.5, "no", 1, "oak\n\x1b[31mtable")

    assert capsys.readouterr().out.splitlines()[:2] == [
        "      🔍 Starting step: Product Query: grey sofa",
        "      ✅ Completed step: Product Query: grey sofa (0.50s)",
    ]


def test_the_detail_of_a_step_is_one_redacted_line_and_no_part_of_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import perfdb
    from perfdb.settings import load

    key = "sk-canary0123456789abcdefCANARY"
    tracker = perfdb.create_tracker(settings=load(home=tmp_path, console=True, monitor=False))
    tracker.start_pipeline()
    step = tracker.step("Product Query")
    step.detail = f"sofa\n\x1b[31m {key}"
    with step:
        pass
    tracker.end_pipeline(success=True)

    out = capsys.readouterr().out
    assert key not in out
    assert "\x1b" not in out
    assert len([line for line in out.splitlines() if "Product Query" in line]) == 2
    session = tracker.session
    assert session is not None
    assert (session.steps[0].step_name, session.steps[0].additional_data) == ("Product Query", {})
