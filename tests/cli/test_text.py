"""What a terminal shows is folded where a reader would end a line.

Of: cli/measures.py, cli/render.py, cli/sessions.py, cli/text.py.
"""

from __future__ import annotations

import pytest

from perfdb.cli.text import folded, width


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        ("It took 12.34 s of all", "12.34 s"),
        ("It took 2 min 05 s of all", "2 min 05 s"),
        ("It is 46 % longer than it was", "46 %"),
        ("It was counted, n = 1,234", "n = 1,234"),
        ("It is stage-with-a-name-of-hyphens that moved", "stage-with-a-name-of-hyphens"),
        ("No open alert. What is watched: perfdb rules", "perfdb rules"),
        ("Details: perfdb alerts explain 10; then: perfdb rules", "perfdb alerts explain 10;"),
    ],
)
def test_no_line_ends_within_a_figure_a_name_or_a_command(said: str, whole: str) -> None:
    for columns in range(2 * len(whole), len(said) + 8):
        lines = folded(said, columns)
        assert any(whole in line for line in lines), f"{columns} columns: {lines}"
        assert max(map(len, lines)) <= columns
        assert " ".join(lines) == said


def test_a_command_that_is_longer_than_half_a_line_is_folded_between_its_words() -> None:
    said = "See: perfdb regressions --pipeline design --step Load --since 30d"
    lines = folded(said, 40)
    assert max(map(len, lines)) <= 40
    assert " ".join(lines) == said


@pytest.mark.parametrize(
    "said", ["模型推論 失敗於 第三步驟 " * 9, "模型推論失敗於第三步驟" * 9, "🚀 start 🔍 look " * 9]
)
def test_lines_are_folded_by_what_they_take_of_the_screen(said: str) -> None:
    for columns in range(20, 60):
        lines = folded(said, columns, initial_indent="- ", subsequent_indent="  ")
        assert max(map(width, lines)) <= columns
        assert "".join(lines).replace(" ", "") == "-" + said.replace(" ", "")
        assert min(map(width, lines[:-1])) > columns - 20, "and the lines are used"
        assert folded(said, columns, max_lines=2)[-1].endswith("…")


def test_a_long_word_is_broken_only_where_it_may_be() -> None:
    path = "/srv/" + "a" * 60
    assert folded(f"see {path}", 40, break_long_words=False) == ["see", path]
    assert "".join(folded(f"see {path}", 40)).replace(" ", "") == f"see{path}"
