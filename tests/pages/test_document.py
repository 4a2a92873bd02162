"""Reports are whole, inert and self-contained files, and what they hold comes back.

Of: history/reports.py, pages/overview.py, pages/session.py, pages/style.py, pages/svg.py.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import perfdb
from perfdb.maintenance.importer import find_reports, import_reports
from perfdb.measures import JUDGED
from perfdb.pages import svg, words
from perfdb.pages.document import data_in, document
from perfdb.pages.session import session_html
from perfdb.pages.style import COLOURS
from perfdb.recording.report import to_report
from perfdb.records import Attempt, Sample, Session, Step
from perfdb.settings import load
from perfdb.testing import make_session as of_steps

NOON = 1_767_268_800.0
HOSTILE = "</script><script>alert(1)</script> <img src=x onerror=alert(2)> \"' & \x1b[31m \u202e evil"
VOID = {"meta", "br", "link", "img", "input"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, without settings from outside."""
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_session(number: int, name: str = "Vision Analysis", **changes: Any) -> Session:
    start = NOON + 60 * number
    attempts = (
        Attempt(start_time=start, duration=0.5, success=False, error_message="429"),
        Attempt(start_time=start + 1.5, duration=0.5, wait=1.0),
    )
    steps = (
        Step(
            step_name=name, start_time=start, duration=2.0, success=True, seq=0, attempts=attempts, cpu_s=0.5
        ),
        Step(step_name="inner", start_time=start + 0.5, duration=1.0, success=False, seq=1, parent_seq=0),
        Step(step_name="Product Search", start_time=start + 2, duration=1.0 + number, success=True, seq=2),
    )
    values: dict[str, Any] = {
        "session_id": f"20260101_{number:06d}_0000000a",
        "pipeline": "design",
        "start_time": start,
        "total_duration": 3.5 + number,
        "status": "completed",
        "success": True,
        "fast_mode": False,
        "mode": '{"fast_mode":false}',
        "attributes": {"model": "gpt-4o"},
        "steps": steps,
        "samples": tuple(Sample(time=start + n, cpu_percent=50.0 * n, rss_bytes=10**8) for n in range(3)),
        "perfdb_version": "0.1.0",
    }
    return Session(**(values | changes))


def recorded(*sessions: Session) -> perfdb.History:
    """Take sessions into the default home and open it."""
    path = Path("all.json")
    path.write_text(json.dumps({"schema_version": 1, "rows": [to_report(each) for each in sessions]}))
    assert [each.error for each in import_reports([path], load())] == [None]
    return perfdb.History()


class Reader(HTMLParser):
    """Collects what a browser would: elements, their attributes, the nesting, the texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data.replace("\u00a0", " ")


def test_a_report_of_one_session_tells_what_held_it_up() -> None:
    history = recorded(*(make_session(number) for number in range(7)))
    text = Reader(history.report("20260101_000006").html).text
    assert "Product Search held this run up for 7.00 s of 9.50 s (74 %)" in text
    assert "waiting before a retry" in text
    assert "CPU, up to 100 % of a core" in text
    assert "longer than usual" in text


def test_a_report_names_the_zone_of_its_times() -> None:
    zone = r"\d\d:\d\d:\d\d UTC([+-]\d\d:\d\d)?"
    history = recorded(*(make_session(number) for number in range(2)))
    assert re.search(f"started 2026-01-0. {zone}", Reader(history.report("last").html).text)
    assert re.search(f"to 2026-01-0. {zone}", Reader(history.report(last=2).html).text)


def test_a_report_shows_every_measure_of_the_table() -> None:
    given = {each.name: 90 for each in JUDGED}
    html = session_html(replace(make_session(1), **given))
    for each in JUDGED:
        assert f"<dt>{each.words}</dt><dd>{words.amount_of(90, each)}</dd>" in html
        assert f">{each.short}</th>" in html


def test_a_report_of_many_sessions_keeps_modes_apart() -> None:
    fast = {"fast_mode": True, "mode": '{"fast_mode":true}'}
    history = recorded(*(make_session(number, **(fast if number % 3 == 0 else {})) for number in range(9)))
    report = history.report(last=9)
    text = Reader(report.html).text
    assert report.sessions == 9
    duration, _, rest = text.partition("Bottlenecks")
    for named in ("design, normal mode 6 sessions", "design, fast mode 3 sessions"):
        assert named in " ".join(duration.split())
    assert text.count("Each dot is a session") == text.count("critical: nothing else") == 1
    assert "How long each step takes" in rest


@pytest.mark.parametrize("pipelines", [("design",), ("design", "billing")])
def test_a_report_names_the_pipelines_of_its_sessions_where_there_are_several(pipelines: list[str]) -> None:
    made = [replace(make_session(place), pipeline=pipelines[place % len(pipelines)]) for place in range(3)]
    text = Reader(recorded(*made).report(last=3).html).text.partition("The newest sessions")[2]
    for each in made:
        kind = f"{each.pipeline}, normal mode" if len(pipelines) > 1 else "normal mode"
        assert f"· {kind} · {each.session_id}" in " ".join(text.split())


def test_a_report_indents_steps_below_their_parents() -> None:
    session = make_session(0)
    table = session_html(replace(session, steps=session.steps[::-1])).partition("<h2>Steps</h2>")[2]
    found = re.findall(r'<td><span class="in(\d)"><bdi>([\w ]+)', table)
    assert found == [("0", "Vision Analysis"), ("1", "inner"), ("0", "Product Search")]


@pytest.mark.parametrize(("steps", "last"), [(3, "Other"), (20, "Other and 6 smaller steps")])
def test_the_bars_of_a_report_add_up_to_its_sessions(steps: int, last: str) -> None:
    parts = {f"step {number}": 0.5 + number / 10 for number in range(steps)}
    made = [of_steps(number, parts, fast_mode=False) for number in range(6)]
    whole = sum(parts.values()) + 1.0
    html = recorded(*(replace(each, total_duration=whole) for each in made)).report(last=6).html
    (section,) = re.findall(r"<h2>Bottlenecks: .*?</section>", html, re.DOTALL)
    shares = [float(each) for each in re.findall(r'num faint">([\d.]+) %<', section)]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))
    assert re.findall(r'class="name"><bdi>(.+?)</bdi>', section)[-1] == last


def test_a_report_is_of_any_measure() -> None:
    sessions = [make_session(number, cpu_s=2.0, attributes={"rows": 10 + number}) for number in range(7)]
    history = recorded(*sessions)
    many = Reader(history.report(last=7, measure="cpu_s").html).text
    assert re.search(r"CPU time\s*Each dot is a session[^.]*\.\s*design, normal mode", many)
    assert "What each step has of CPU time" in many
    frame = history.bottlenecks(last=7, measure="cpu_s").iloc[0]
    assert f"{frame['step_name']} has the most CPU time: {words.in_unit(frame['value'], 's')}" in many
    one = Reader(history.report("last", measure="rows").html).text
    assert "Beside its history: rows" in one
    assert history.explain("last", measure="rows").sentence in one
    with pytest.raises(perfdb.NotFoundError, match="'nosuch'"):
        history.report(last=7, measure="nosuch")
    with pytest.raises(perfdb.NotFoundError, match="'nosuch'"):
        history.report(measure="nosuch")


def test_a_filter_chooses_the_sessions_of_a_report() -> None:
    history = recorded(make_session(0), make_session(1, pipeline="etl"))
    assert history.report(pipeline="etl").sessions == 1


def test_more_sessions_than_a_page_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfdb.history.reports.MOST_SESSIONS", 2)
    history = recorded(make_session(0), make_session(1), make_session(2))
    assert history.report(last=2).sessions == 2
    with pytest.raises(perfdb.UsageError, match="at most 2 sessions, not 3"):
        history.report(last=3)


def test_an_empty_choice_is_a_sentence() -> None:
    assert "Nothing recorded yet" in Reader(perfdb.History().report(last=5).html).text


@pytest.mark.parametrize("unpacked", [1 << 20, 100])
def test_a_report_comes_back_by_import_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, unpacked: int
) -> None:
    monkeypatch.setattr("perfdb.pages.document.UNPACKED", unpacked)
    sessions = [make_session(0), make_session(1, name=HOSTILE)]
    page = recorded(*sessions).report(last=2).save(folder / "report.html")
    other = load(home=folder / "other")
    (first,) = import_reports(find_reports([page]), other)
    (again,) = import_reports(find_reports([page]), other)
    assert (first.added, first.known, again.added, again.known) == (2, 0, 0, 2)
    back = perfdb.History(home=folder / "other")
    assert to_report(back.session("20260101_000000")) == to_report(sessions[0])
    assert len(back.sessions()) == 2


@pytest.mark.parametrize(
    "content", ["<html>hello</html>", '<script id="perfdb-sessions">{"rows": []}</script>']
)
def test_another_page_is_refused_with_the_reason(folder: Path, content: str) -> None:
    page = folder / "page.html"
    page.write_text(content)
    (result,) = import_reports([page], load())
    assert result.error is not None
    assert "holds no sessions" in result.error


@pytest.mark.parametrize(
    ("packed", "reason"),
    [(gzip.compress(b"x" * 5_000, mtime=0), "more than 4000"), (b"no gzip", "damaged"), (b"", "")],
)
def test_packed_data_are_bounded_and_may_be_damaged(packed: bytes, reason: str) -> None:
    page = b'<script id="perfdb-sessions">"' + b64encode(packed) + b'"</script>'
    if not reason:
        assert data_in(page, 4_000) == b""
        return
    with pytest.raises(ValueError, match=reason):
        data_in(page, 4_000)


def test_the_data_survives_a_browsers_way_of_saving_pages() -> None:
    saved = b'<SCRIPT id=perfdb-sessions type="application/json">\n{"schema_version": 1}\n</SCRIPT >'
    assert data_in(saved.replace(b"</SCRIPT >", b"</SCRIPT>")) == b'{"schema_version": 1}'
    assert data_in(b"<html>") is None


def test_hostile_texts_are_shown_to_the_letter_and_obeyed_by_nothing() -> None:
    hostile = make_session(
        0,
        name=HOSTILE,
        pipeline=HOSTILE,
        error_message=HOSTILE,
        attributes={HOSTILE: HOSTILE},
        tags=(HOSTILE,),
        host=HOSTILE,
        git_commit=HOSTILE,
    )
    page = document(HOSTILE, session_html(hostile), [hostile], made_by=HOSTILE)
    read = Reader(page)
    assert read.open == []
    assert [tag for tag, _ in read.elements].count("script") == 1
    assert "img" not in [tag for tag, _ in read.elements]
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in read.text
    assert "\x1b" not in page
    assert "\u202e" not in page
    found = data_in(page.encode())
    assert found is not None
    assert json.loads(found)["rows"][0]["steps"][0]["step_name"] == HOSTILE


def test_a_report_asks_nothing_of_the_network_and_runs_nothing() -> None:
    page = recorded(make_session(0), make_session(1)).report(last=2).html
    read = Reader(page)
    assert read.open == []
    assert not {"link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in read.elements}
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", page)
    (policy,) = [each["content"] for tag, each in read.elements if each.get("http-equiv")]
    assert "default-src 'none'" in str(policy)
    assert [each.get("type") for tag, each in read.elements if tag == "script"] == ["application/json"]


def test_every_page_has_a_dark_and_a_narrow_form() -> None:
    fragment = session_html(make_session(0))
    assert "prefers-color-scheme:dark" in fragment
    assert "max-width:640px" in fragment
    outside = [rule for rule in re.findall(r"(?m)^\.?[\w-]+(?=[{ ,.])", fragment) if rule.startswith(".")]
    assert set(outside) == {".perfdb"}


def test_a_notebook_has_the_theme_of_its_program() -> None:
    fragment = session_html(make_session(0))
    for dark in ("[data-jp-theme-light=false]", ".vscode-dark"):
        rule = fragment.partition(dark)[2].partition("}")[0]
        assert rule[rule.index("--paper") :] in COLOURS.partition("@media")[2]
    assert "[data-jp-theme-light=true]" in fragment, "a light notebook on a dark machine"


def test_a_notebook_shows_a_session_and_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, dict[type, Any]] = {"text/html": {}, "text/plain": {}}

    def formatter(of: dict[type, Any]) -> SimpleNamespace:
        def for_type(kind: type, shown: Any = None) -> Any:
            return of.setdefault(kind, shown) if shown else of.get(kind)

        return SimpleNamespace(for_type=for_type)

    display = SimpleNamespace(formatters={form: formatter(of) for form, of in known.items()})
    notebook = SimpleNamespace(get_ipython=lambda: SimpleNamespace(display_formatter=display))
    monkeypatch.setitem(sys.modules, "IPython", notebook)  # type: ignore[arg-type]
    history = recorded(make_session(0))
    session = history.session("last")
    assert "held this run up" in known["text/html"][Session](session)
    printed: list[str] = []  # what the notebook keeps beside the picture, and a terminal shows
    known["text/plain"][Session](session, SimpleNamespace(text=printed.append), False)
    assert printed == [f"<Session {session.session_id} of design: completed, 3.50 s, 3 steps>"]
    assert re.fullmatch(r"<Report of 1 session, \d+\.?\d* kB of HTML: .*>", repr(history.report()))
    assert history.report()._repr_html_().startswith('<div class="perfdb">')
    assert "<html" not in history.report()._repr_html_()


def test_a_sparkline_ends_with_its_newest_value_and_shows_the_usual_one() -> None:
    drawn = svg.sparkline([1.0, 1.0, 3.0], usual=1.0)
    assert 'points="0,92 500,92 1000,8"' in drawn
    assert '<path class="usual" d="M0 92H1000"/>' in drawn
    assert svg.sparkline([]) == ""


def test_a_sparkline_of_noise_is_nearly_flat() -> None:
    heights = [int(y) for y in re.findall(r"\d+,(\d+)", svg.sparkline([1.0, 1.02, 0.98, 1.01]))]
    assert max(heights) - min(heights) < 10


def test_more_is_drawn_to_the_right_and_less_to_the_left() -> None:
    assert '<rect class="more-of" x="500.0" y="4" width="250.0"' in svg.difference(1.0, 2.0)
    assert '<rect class="less-of" x="250.0" y="4" width="250.0"' in svg.difference(-1.0, 2.0)
    assert '<rect class="more-of" x="250.0" y="4" width="250.0"' in svg.difference(-1.0, 2.0, better="higher")
    assert "<rect" not in svg.difference(0.0, 2.0)


def test_intervals_fit_beside_their_bars_unless_one_dwarfs_them() -> None:
    assert svg.scale_of([(4.0, 1.0, 6.0), (-1.0, -2.0, None), (None, None, None)]) == 6
    assert svg.scale_of([(4.0, 1.0, 100.0)]) == 8
    assert svg.scale_of([]) == 0


def test_a_meter_shows_how_much_longer_than_usual_it_takes() -> None:
    assert "over" not in svg.meter(1.0, 4.0).replace("bar thin meter", "")
    assert '<rect class="over" x="500.0"' in svg.meter(8.0, 4.0)


@pytest.mark.parametrize(
    "page", ["<script ", "<script id=", "<SCRIPT a", '<script id="perfdb-sessions">', "<script\tid"]
)
def test_a_page_is_looked_through_once_whatever_stands_in_it(page: str) -> None:
    """Once took minutes: a place to begin in every word, and the end of the file looked for from each."""
    assert data_in(page.encode() * 200_000) is None


def test_the_data_of_a_page_are_found_however_a_browser_wrote_its_element() -> None:
    for element in ('<script type="x" id="perfdb-sessions">', "<SCRIPT ID=perfdb-sessions type='x' hidden>"):
        assert data_in(f"<p><script>1</script>{element} [1] </SCRIPT>".encode()) == b"[1]"


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "tile"])
@pytest.mark.parametrize("text", ["ink", "muted", "failed"])
def test_words_stand_out_from_what_is_behind_them(scheme: str, ground: str, text: str) -> None:
    """WCAG's 4.5 : 1; axe does not judge a word of one letter, such as how many runs failed."""
    part = COLOURS.partition("@media")[2 if scheme == "dark" else 0]
    colours = dict(re.findall(r"--(\w+):#(\w+)", part))
    low, high = sorted(luminance(colours[name]) for name in (ground, text))
    assert (high + 0.05) / (low + 0.05) >= 4.5
