"""Templates escape whatever they are given, and are loaded when a report is made.

Of: pages/rendering.py, pages/words.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from perfdb.pages.rendering import TEMPLATES, environment
from perfdb.pages.words import escaped, shown, unbroken

HOSTILE = "</p><script>alert(1)</script> \"' & \x1b[31m \u202e evil"


def test_what_no_filter_was_thought_of_for_is_escaped() -> None:
    made = environment().from_string("<p title='{{ text }}'>{{ text }}</p>").render(text=HOSTILE)
    assert "<script>" not in made
    assert made.count("'") == 2
    assert made.count("</p>") == 1


@pytest.mark.parametrize("show", [shown, escaped])
def test_a_recorded_text_is_inert_and_no_longer_than_it_may_be(show: object) -> None:
    made = environment().from_string("{{ text | " + show.__name__ + "(20) }}")  # type: ignore[attr-defined]
    text = made.render(text=HOSTILE)
    assert not re.search("[\x1b\u202e]", text)
    assert "<script>" not in text
    assert "…" in text


def test_a_name_that_is_not_given_is_an_error_and_no_gap() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        environment().from_string("{{ nothing }}").render()


def test_only_shapes_and_whole_pieces_are_taken_as_html() -> None:
    marked = {
        line.strip()
        for template in TEMPLATES.glob("*.html")
        for line in re.findall(r"\{\{([^{}]*)\| (?:drawn|safe)\b", template.read_text())
    }
    assert marked == {
        "body",
        "data",
        "newest",
        "part.shape",
        "policy",
        "shape",
        "svg.outside(line.outside, line.wall_s)",
        "svg.pair_of_bars([row.value, 0.0] | max, row.busy_s if of_time else 0.0, longest)",
        "svg.row_of_bars(row, line.wall_s)",
    }


@pytest.mark.process
def test_reading_loads_no_templates(tmp_path: Path) -> None:
    code = (
        "import sys, perfdb; from perfdb.pages.document import data_in; history = perfdb.History(); "
        "history.sessions(); print({'jinja2', 'markupsafe'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("takes 52 % longer", "52\u00a0% longer"),
        ("up for 40.70 s, 95 % up to 58.94 s; usual", "40.70\u00a0s, 95\u00a0% up to 58.94\u00a0s; usual"),
        ("of 2 min 00 s (92 %)", "of 2\u00a0min\u00a000\u00a0s (92\u00a0%)"),
        ("850 µs and 12.3 ms, 800 MB", "850\u00a0µs and 12.3\u00a0ms, 800\u00a0MB"),
        ("5 of 20 runs, 3 sessions, 2 sets, 4 minutes", "5 of 20 runs, 3 sessions, 2 sets, 4 minutes"),
    ],
)
def test_no_line_ends_between_a_number_and_its_unit(sentence: str, kept: str) -> None:
    assert kept in unbroken(shown(sentence))


def test_a_sentence_has_the_minus_sign_of_the_tables() -> None:
    said = unbroken("moved -31.3 ms (-4 %) of -$0.02 since 2026-01-02, run-7, x=-1")
    assert said == "moved −31.3\u00a0ms (−4\u00a0%) of −$0.02 since 2026-01-02, run-7, x=-1"


def test_a_sentence_that_is_no_html_yet_is_escaped() -> None:
    assert unbroken("<b> takes 5 s") == "&lt;b&gt; takes 5\u00a0s"
